"""Matrices of a written graph as int8 with one scale a row: a fourth of float32's bytes, and the same arithmetic.

    weight = Cast(int8, to=float32) * scales

Runtimes compute that once, when they load the graph. DequantizeLinear would say the same, but of one before a product
ONNX Runtime's CPU provider makes a product with int8 activations: measured 2.9e-2 off on MiniLM.

A matrix is stored so where that gives back the values it has, as it does after `limbeck.export.bert.round_to_int8`.
What the exporter computed of the weights itself stays float32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from limbeck.export.weights import LARGE

SAME = 1e-6
"""Values this near to each other, relative to the largest of a row, are the same but for float32's rounding."""


def store_as_int8(path: Path) -> int:
    """Rewrite the graph at `path`; returns how many matrices became int8."""
    model = ir.external_data.load_to_model(ir.load(path))
    graph = model.graph
    changed = 0
    for name, value in list(graph.initializers.items()):
        assert value.const_value is not None, "an initializer has a value"
        weights = value.const_value.numpy()
        if weights.ndim != 2 or weights.dtype != np.float32 or weights.size < LARGE:
            continue
        for axis in (0, 1):
            scales, integers = _split(weights, axis)
            if np.all(np.abs(integers * scales - weights) <= SAME * 127 * scales):
                _replace(graph, name, integers.astype(np.int8), scales)
                changed += 1
                break
    ir.save(model, path)
    return changed


def _split(weights: NDArray[np.float32], axis: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scales along `axis`, and what they multiply.

    The largest value of a row need not be 127 times its scale, which was rounded: a scale is found from it only to
    within that rounding, and is itself a bfloat16 value.
    """
    largest = np.abs(weights).max(axis=1 - axis, keepdims=True)
    scales = _bfloat16(largest / 127)
    scales = np.maximum(scales, np.finfo(np.float32).tiny)
    return scales, np.rint(weights / scales)


def _bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    rounded: NDArray[np.float32] = values.astype(ir.DataType.BFLOAT16.numpy()).astype(np.float32)
    return rounded


def _replace(graph: ir.Graph, name: str, integers: NDArray[np.int8], scales: NDArray[np.float32]) -> None:
    value = graph.initializers.pop(name)
    small, scale = (
        ir.Value(name=f"{name}.{kind}", const_value=ir.Tensor(array))
        for kind, array in (("int8", integers), ("scale", scales))
    )
    cast = ir.Node("", "Cast", [small], [ir.AttrInt64("to", ir.DataType.FLOAT)])
    scaled = ir.Node("", "Mul", [cast.outputs[0], scale])
    value.replace_all_uses_with(scaled.outputs[0])
    graph.register_initializer(small)
    graph.register_initializer(scale)
    graph.insert_before(graph[0], [cast, scaled])
