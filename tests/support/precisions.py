"""Graphs of another precision: how to run them truly, and small graphs that 16 bits cannot hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from limbeck.arrays import Array
from limbeck.backends.base import Graph
from limbeck.pack import Pack, Role
from support.graphs import tensor, write_graph

SIZES = {"batch": 2, "height": 32, "width": 32, "latent_height": 4, "latent_width": 4}


def reference(graph: Graph, path: Path, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run the file at `path`, of the spec of `graph`, in torch, in the types that the file says.

    ONNX Runtime's CPU computes float16 graphs in float32 and removes the casts between nodes: nothing overflows.
    """
    from limbeck.backends.reference import Reference

    session = Reference().compile(dataclasses.replace(graph, path=path))
    try:
        return session.infer(feeds)
    finally:
        session.close()


def mini_feeds(role: Role, rng: np.random.Generator) -> dict[str, Array]:
    """Feeds of a batch of two for a graph of the mini pack, of the size that its latents and images have."""
    feeds: dict[str, Array] = {}
    for spec in Pack.open("mini").graph(role).spec.inputs:
        shape = [SIZES[size] if isinstance(size, str) else size for size in spec.shape]
        if spec.dtype == "int64":
            feeds[spec.name] = np.array([999, 500]) if spec.name == "timestep" else rng.integers(0, 10, shape)
        else:
            feeds[spec.name] = rng.standard_normal(shape, dtype=np.float32)
    return feeds


def relative_error(found: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """The largest over the outputs of |found - expected| / |expected|, in L2."""
    return max(
        float(np.linalg.norm(found[name].astype(np.float64) - value) / np.linalg.norm(value.astype(np.float64)))
        for name, value in expected.items()
    )


def overflowing(folder: Path) -> Graph:
    """y = (x + 1) * 300 * 300 / 90000 + x: for x of about 1, what `up` gives and `down` reads is beyond float16."""
    from onnx.helper import make_node

    return write_graph(
        folder / "overflowing.onnx",
        [
            make_node("Add", ["x", "one"], ["shifted"], "shift"),
            make_node("Mul", ["shifted", "factor"], ["large"], "large"),
            make_node("Mul", ["large", "factor"], ["huge"], "up"),
            make_node("Div", ["huge", "divisor"], ["back"], "down"),
            make_node("Add", ["back", "x"], ["y"], "add"),
        ],
        [tensor("x", "batch", 8)],
        [tensor("y", "batch", 8)],
        {"one": np.float32([1]), "factor": np.float32([300]), "divisor": np.float32([90000])},
    )
