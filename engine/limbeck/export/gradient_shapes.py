"""The vector-Jacobian products of operators that only move values: each is the transposed movement."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

import numpy as np
import onnx_ir as ir

from limbeck.errors import ExportError
from limbeck.export.gradient_tape import Gradients, GradientTape, Rule, attribute, axis_of, constant_of, only, source


def _reshape(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    x, gradient = source(node), only(gradients)
    return [tape.like(gradient, x)]


def _transpose(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    gradient = only(gradients)
    return [tape.op("Transpose", gradient, perm=[int(place) for place in np.argsort(attribute(node, "perm"))])]


def _concat(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    gradient = only(gradients)
    values = [value for value in node.inputs if value is not None]
    axis = axis_of(node, len(tape.shape(values[0])))
    ends = list(accumulate(tape.size(value, axis) for value in values))
    return [
        tape.op("Slice", gradient, tape.sizes(start), tape.sizes(end), tape.sizes(axis)) if place in wanted else None
        for place, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
    ]


def _split(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    x = source(node)
    rank = len(tape.shape(x))
    axis = axis_of(node, rank)
    ends = list(accumulate(tape.size(part, axis) for part in node.outputs))
    total: ir.Value | None = None
    for gradient, start, end in zip(gradients, [0, *ends], ends, strict=False):
        if gradient is not None:
            part = tape.padded(gradient, axis, start, ends[-1] - end, rank=rank)
            total = part if total is None else tape.op("Add", total, part)
    return [total]


def _slice(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    x, gradient = source(node), only(gradients)
    rank = len(tape.shape(x))
    starts, ends = constant_of(node.inputs[1]), constant_of(node.inputs[2])
    axes = constant_of(node.inputs[3]) if len(node.inputs) > 3 else range(len(starts))
    steps = constant_of(node.inputs[4]) if len(node.inputs) > 4 else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        gradient = _unsliced(tape, gradient, x, int(axis) % rank, slice(int(start), int(end), int(step)))
    return [gradient]


def _unsliced(tape: GradientTape, gradient: ir.Value, x: ir.Value, axis: int, cut: slice) -> ir.Value:
    """Zeros where the slice took nothing."""
    rank, size = len(tape.shape(x)), tape.size(x, axis)
    start, end, step = cut.indices(size)
    if step == 1:
        return tape.padded(gradient, axis, start, size - end, rank=rank)
    if step < 1 or size % step or start >= step or len(range(start, end, step)) != size // step:
        raise ExportError(f"the gradient of every {step}th of {size} values from {start} to {end} is not known")
    # (…, n, …) to (…, n, step, …) with zeros beside each value, and back to one axis
    apart = tape.op("Unsqueeze", gradient, tape.sizes(axis + 1))
    return tape.like(tape.padded(apart, axis + 1, start, step - 1 - start, rank=rank + 1), x)


def _gather(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    x, gradient = source(node), only(gradients)
    rank = len(tape.shape(x))
    axis, place = axis_of(node, rank), constant_of(node.inputs[1])
    if np.ndim(place):
        raise ExportError("the gradient of Gather is known to limbeck for one place, such as the class token")
    size = tape.size(x, axis)
    before = int(place) % size
    row = tape.op("Unsqueeze", gradient, tape.sizes(axis))
    return [tape.padded(row, axis, before, size - 1 - before, rank=rank)]


SHAPES: Mapping[str, Rule] = {
    "Concat": _concat,
    "Flatten": _reshape,
    "Gather": _gather,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
"""By operator."""
