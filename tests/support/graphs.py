"""Small ONNX files, and what they compute, in NumPy and float64."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limbeck.arrays import Array
from limbeck.backends.base import Graph, GraphSpec, TensorSpec

OPSET = 23
Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class KnownGraph:
    """A graph whose every answer is known.

    Args:
        graph: The file and its spec.
        feeds: Feeds of any batch, drawn from a generator.
        answer: The outputs for feeds, in float64.
    """

    graph: Graph
    feeds: Callable[[np.random.Generator, int], dict[str, Array]]
    answer: Callable[[Feeds], dict[str, Array]]


def tensor(name: str, *shape: int | str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def write_graph(
    path: Path,
    nodes: Sequence[object],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    weights: Mapping[str, Array] | None = None,
    *,
    opset: int = OPSET,
) -> Graph:
    """Write an ONNX file of these nodes (from `onnx.helper.make_node`), and describe it as it is."""
    import onnx

    def value(spec):
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        return onnx.helper.make_tensor_value_info(spec.name, kind, spec.shape)

    graph = onnx.helper.make_graph(
        list(nodes),
        "known",
        [value(spec) for spec in inputs],
        [value(spec) for spec in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opsets = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("com.microsoft", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Graph(path, GraphSpec(tuple(inputs), tuple(outputs)), digest)


def linear(folder: Path) -> KnownGraph:
    """y = x W + b."""
    from onnx.helper import make_node

    rng = np.random.default_rng(0)
    weight, bias = _normal(rng, 4, 3), _normal(rng, 3)
    graph = write_graph(
        folder / "linear.onnx",
        [make_node("Gemm", ["x", "weight", "bias"], ["y"])],
        [tensor("x", "batch", 4)],
        [tensor("y", "batch", 3)],
        {"weight": weight, "bias": bias},
    )
    return KnownGraph(
        graph,
        lambda rng, batch: {"x": _normal(rng, batch, 4)},
        lambda feeds: {"y": feeds["x"].astype(np.float64) @ weight + bias},
    )


def convolution(folder: Path) -> KnownGraph:
    """A 3 x 3 convolution, padded to keep the size of the image, which is free."""
    from onnx.helper import make_node

    weight = _normal(np.random.default_rng(1), 2, 3, 3, 3)
    graph = write_graph(
        folder / "convolution.onnx",
        [make_node("Conv", ["pixels", "weight"], ["y"], pads=[1, 1, 1, 1], kernel_shape=[3, 3])],
        [tensor("pixels", "batch", 3, "height", "width")],
        [tensor("y", "batch", 2, "height", "width")],
        {"weight": weight},
    )

    def answer(feeds):
        padded = np.pad(feeds["pixels"].astype(np.float64), [(0, 0), (0, 0), (1, 1), (1, 1)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        return {"y": np.einsum("bchwij,ocij->bohw", windows, weight)}

    return KnownGraph(graph, lambda rng, batch: {"pixels": _normal(rng, batch, 3, 5, 4)}, answer)


def attention(folder: Path) -> KnownGraph:
    """Two heads of size three, as one `com.microsoft.MultiHeadAttention`."""
    from onnx.helper import make_node

    names = ("query", "key", "value")
    graph = write_graph(
        folder / "attention.onnx",
        [make_node("MultiHeadAttention", names, ["y"], domain="com.microsoft", num_heads=2)],
        [tensor(name, "batch", "tokens", 6) for name in names],
        [tensor("y", "batch", "tokens", 6)],
    )

    def answer(feeds):
        q, k, v = (feeds[name].astype(np.float64).reshape(*feeds[name].shape[:2], 2, 3) for name in names)
        scores = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(3)
        weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        return {"y": np.einsum("bhqk,bkhd->bqhd", weights, v).reshape(feeds["query"].shape)}

    return KnownGraph(graph, lambda rng, batch: {name: _normal(rng, batch, 5, 6) for name in names}, answer)


def two_outputs(folder: Path) -> KnownGraph:
    """Sum and product of two inputs of the same batch and width."""
    from onnx.helper import make_node

    graph = write_graph(
        folder / "two_outputs.onnx",
        [make_node("Add", ["a", "b"], ["sum"]), make_node("Mul", ["a", "b"], ["product"])],
        [tensor("a", "batch", "width"), tensor("b", "batch", "width")],
        [tensor("sum", "batch", "width"), tensor("product", "batch", "width")],
    )
    return KnownGraph(
        graph,
        lambda rng, batch: {"a": _normal(rng, batch, 3), "b": _normal(rng, batch, 3)},
        lambda feeds: {
            "sum": feeds["a"].astype(np.float64) + feeds["b"],
            "product": feeds["a"].astype(np.float64) * feeds["b"],
        },
    )


def lookup(folder: Path) -> KnownGraph:
    """Rows of a table by int64 id."""
    from onnx.helper import make_node

    table = _normal(np.random.default_rng(2), 7, 3)
    graph = write_graph(
        folder / "lookup.onnx",
        [make_node("Gather", ["table", "ids"], ["rows"])],
        [tensor("ids", "batch", dtype="int64")],
        [tensor("rows", "batch", 3)],
        {"table": table},
    )
    return KnownGraph(
        graph,
        lambda rng, batch: {"ids": rng.integers(0, 7, batch)},
        lambda feeds: {"rows": table[feeds["ids"]]},
    )


def passthrough(folder: Path) -> KnownGraph:
    """The input as it is, and a constant: outputs that a runtime might not copy."""
    from onnx.helper import make_node

    constant = np.arange(4, dtype=np.float32)
    graph = write_graph(
        folder / "passthrough.onnx",
        [make_node("Identity", ["x"], ["same"]), make_node("Identity", ["weight"], ["constant"])],
        [tensor("x", "batch", 2)],
        [tensor("same", "batch", 2), tensor("constant", 4)],
        {"weight": constant},
    )
    return KnownGraph(
        graph,
        lambda rng, batch: {"x": _normal(rng, batch, 2)},
        lambda feeds: {"same": feeds["x"], "constant": constant},
    )


KNOWN = (linear, convolution, attention, two_outputs, lookup, passthrough)


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)
