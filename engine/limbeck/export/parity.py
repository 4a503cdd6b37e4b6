"""Does a graph compute what its network does? Measured by running both, before a pack is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from limbeck.arrays import Array
from limbeck.backends.base import Graph, TensorSpec
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.errors import ParityError
from limbeck.export.graph import Tracing, WrittenGraph, write_graph
from limbeck.export.options import ExportOptions
from limbeck.pack import GraphEntry
from limbeck.precision import FP32, Precision
from limbeck_kernels.distances import relative_error

Feeds = Mapping[str, Array]
Computation = Callable[[Feeds], Feeds]
"""Named arrays to named arrays: a graph in a runtime, or a network."""

BATCHES = (1, 3)
"""Batches to compare at; graphs are traced at 2, so that one which only runs at its traced batch is found."""


def check_parity(
    name: str,
    graph: Computation,
    network: Computation,
    cases: Sequence[Feeds],
    precision: Precision = FP32,
) -> float:
    """The largest relative error of `graph` against `network` over the cases.

    Raises:
        ParityError: It is above the tolerance of `precision`, or not a number.
    """
    error = max(_relative_error(graph(feeds), network(feeds)) for feeds in cases)
    if not error <= precision.tolerance:
        raise ParityError(
            f"the exported {name} is not the network it came from: relative error {error:.2e}, "
            f"{precision.name} allows {precision.tolerance:.0e}; no pack was written",
            error=error,
            tolerance=precision.tolerance,
        )
    return error


def export_checked(role: str, tracing: Tracing, pack: Path, folder: str, options: ExportOptions) -> GraphEntry:
    """Write the graph of a network, and compare it with the network on standard normal input.

    Raises:
        ExportError: The network cannot be traced.
        ParityError: The graph computes something else.
    """
    written = write_graph(tracing, pack, folder, options)
    cases = [random_feeds(tracing.spec.inputs, {**tracing.sizes, "batch": batch}) for batch in BATCHES]
    network = computation(tracing.network, [tensor.name for tensor in tracing.spec.outputs])
    with opened(written, pack) as graph:
        return written.entry(check_parity(role, graph, network, cases))


def _relative_error(found: Feeds, expected: Feeds) -> float:
    """The largest over the outputs of |found - expected| / |expected|, in L2; infinite where a shape differs."""
    assert found.keys() == expected.keys(), "graph and network name their outputs alike"
    return max(relative_error(found[name], expected[name]) for name in expected)


def random_feeds(inputs: Sequence[TensorSpec], sizes: Mapping[str, int], **below: int) -> Feeds:
    """Standard normal arrays, and integers under `below[name]`; the same for the same arguments."""
    rng = np.random.default_rng(sorted(sizes.values()))
    feeds: dict[str, Array] = {}
    for tensor in inputs:
        shape = [sizes[size] if isinstance(size, str) else size for size in tensor.shape]
        if tensor.dtype == "int64":
            feeds[tensor.name] = rng.integers(below[tensor.name], size=shape)
        else:
            feeds[tensor.name] = rng.standard_normal(shape, dtype=np.float32)
    return feeds


@contextmanager
def opened(graph: WrittenGraph, pack: Path) -> Iterator[Computation]:
    """The graph in ONNX Runtime on the CPU."""
    session = OnnxRuntime().compile(Graph(pack / graph.file, graph.spec, digest=""))
    try:
        yield session.infer
    finally:
        session.close()


def computation(network: nn.Module, outputs: Sequence[str]) -> Computation:
    """The network itself: feeds are its arguments by position, results are named by `outputs`."""

    def run(feeds: Feeds) -> Feeds:
        with torch.no_grad():
            results = network(*(torch.from_numpy(array) for array in feeds.values()))
        results = (results,) if isinstance(results, torch.Tensor) else results
        return {name: result.numpy() for name, result in zip(outputs, results, strict=True)}

    return run
