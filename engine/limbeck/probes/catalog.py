"""The probes of a machine: small graphs whose every answer is known, in each operator and precision that matters.

The graphs ship with the package, written by `tools/probe_graphs.py`, so that a machine without the onnx package can be
probed. Weights are (37 i mod 251 - 125) / 125 for i = 0, 1, …: exact in int8 and float16, to three digits in bfloat16.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Array
from limbeck.backends.base import Graph, GraphSpec, TensorSpec

Operator = Literal["matmul", "conv", "attention"]
ProbedPrecision = Literal["fp32", "fp16", "bf16", "int8", "int8-static"]

_MATMUL, _CONV = (1024, 1024), (64, 64, 3, 3)
_SIDE, _TOKENS, _WIDTH, _HEADS = 32, 64, 512, 8

TOLERANCES: Mapping[ProbedPrecision, float] = {
    "fp32": 1e-5,
    "fp16": 5e-3,
    "bf16": 3e-2,
    "int8": 3e-2,
    "int8-static": 3e-2,
}
"""The largest relative L2 error: a few roundings of the type in a sum of 1024 terms; int8 rounds activations to one of
256 steps over their range, about 1 %."""


@dataclass(frozen=True)
class Probe:
    """One graph with its answer.

    Args:
        operator: What it computes.
        precision: In what.
        graph: The file.
        feeds: Feeds of so many rows, from a seed.
        answer: The output for feeds, in float64.
        flop_per_row: Operations of one row, for the rate; None where no rate is asked.
    """

    operator: Operator
    precision: ProbedPrecision
    graph: Graph
    feeds: Callable[[int], Mapping[str, Array]]
    answer: Callable[[Mapping[str, Array]], NDArray[np.float64]]
    flop_per_row: float | None


def probes() -> list[Probe]:
    """Every probe, by operator and precision."""
    found = []
    for precision in TOLERANCES:
        found.append(
            Probe(
                "matmul",
                precision,
                _graph(f"matmul.{precision}.onnx", {"x": ("batch", _MATMUL[0])}, {"y": ("batch", _MATMUL[1])}),
                lambda rows: {"x": _normal("x", rows, _MATMUL[0])},
                lambda feeds: feeds["x"].astype(np.float64) @ _weight(_MATMUL),
                2.0 * _MATMUL[0] * _MATMUL[1],
            )
        )
    for precision in TOLERANCES:
        image = ("batch", _CONV[1], _SIDE, _SIDE)
        found.append(
            Probe(
                "conv",
                precision,
                _graph(f"conv.{precision}.onnx", {"x": image}, {"y": image}),
                lambda rows: {"x": _normal("x", rows, _CONV[1], _SIDE, _SIDE)},
                _convolved,
                float(2 * np.prod(_CONV) * _SIDE**2),
            )
        )
    for precision in ("fp32", "fp16", "bf16"):
        names, size = ("query", "key", "value"), ("batch", _TOKENS, _WIDTH)
        found.append(
            Probe(
                "attention",
                precision,
                _graph(f"attention.{precision}.onnx", dict.fromkeys(names, size), {"y": size}),
                lambda rows: {name: _normal(name, rows, _TOKENS, _WIDTH) for name in ("query", "key", "value")},
                _attended,
                None,
            )
        )
    return found


def overflow_graph() -> Graph:
    """float16: `squares` of x, and `sums` over the four columns of x; float32 in and out."""
    return _graph("overflow.fp16.onnx", {"x": ("batch", 4)}, {"squares": ("batch", 4), "sums": ("batch", 1)})


def _graph(
    name: str, inputs: Mapping[str, tuple[int | str, ...]], outputs: Mapping[str, tuple[int | str, ...]]
) -> Graph:
    path = Path(str(files("limbeck.probes") / "graphs" / name))
    sides = [tuple(TensorSpec(name, "float32", shape) for name, shape in side.items()) for side in (inputs, outputs)]
    return Graph(path, GraphSpec(*sides), hashlib.sha256(path.read_bytes()).hexdigest())


def _weight(shape: tuple[int, ...]) -> NDArray[np.float64]:
    return ((37 * np.arange(np.prod(shape)) % 251 - 125) / 125).reshape(shape)


def _convolved(feeds: Mapping[str, Array]) -> NDArray[np.float64]:
    padded = np.pad(feeds["x"].astype(np.float64), [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.asarray(np.einsum("bchwij,ocij->bohw", windows, _weight(_CONV), optimize=True))


def _attended(feeds: Mapping[str, Array]) -> NDArray[np.float64]:
    def heads(name: str) -> NDArray[np.float64]:
        return feeds[name].astype(np.float64).reshape(len(feeds[name]), _TOKENS, _HEADS, _WIDTH // _HEADS)

    scores = np.einsum("bqhd,bkhd->bhqk", heads("query"), heads("key")) / np.sqrt(_WIDTH // _HEADS)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = np.einsum("bhqk,bkhd->bqhd", weights / weights.sum(axis=-1, keepdims=True), heads("value"))
    return np.asarray(mixed.reshape(feeds["query"].shape))


def _normal(name: str, *shape: int) -> NDArray[np.float32]:
    """Standard normal, cut at 4 as far as the static int8 graphs reach; the same for the same name and shape."""
    rng = np.random.default_rng([*name.encode(), *shape])
    return rng.standard_normal(shape, dtype=np.float32).clip(-3.9, 3.9)
