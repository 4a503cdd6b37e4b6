"""The vector-Jacobian products of convolution and pooling."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from limbeck.errors import ExportError
from limbeck.export.gradient_tape import Gradients, GradientTape, Rule, attribute, only, source

_LOWEST = -3.0e38
"""Below any activation; finite, because the pooled windows are cut out by a convolution, and 0 * inf is no number."""


def _conv(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    """The transposed convolution with the same weights.

    At stride 1 that is a convolution with the kernel turned round, which ONNX Runtime runs 1.2 to 2 times faster on the
    CPU; turning a constant costs nothing when the graph runs. With a channel a group neither is faster.
    """
    if wanted != {0}:
        raise ExportError("the gradient of Conv is known to limbeck for constant weights")
    gradient, weight, group = only(gradients), source(node, 1), int(attribute(node, "group", 1))
    num_axes = len(tape.shape(weight)) - 2
    strides, pads, dilations = _window(node, num_axes)
    reach = [dilation * (size - 1) for dilation, size in zip(dilations, attribute(node, "kernel_shape"), strict=True)]
    turned_pads = [size - pad for size, pad in zip(reach * 2, pads, strict=True)]
    if group > 1 or set(strides) != {1} or min(turned_pads) < 0 or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        return [_transposed(tape, node, gradient, weight, group=group)]
    turned = tape.op("Transpose", weight, perm=[1, 0, *range(2, 2 + num_axes)])
    if any(reach):
        axes, back = range(2, 2 + num_axes), [-1] * num_axes
        ends = [-(2**31)] * num_axes
        turned = tape.op("Slice", turned, *(tape.sizes(*values) for values in (back, ends, axes, back)))
    return [tape.op("Conv", gradient, turned, pads=turned_pads, dilations=dilations)]


def _transposed(tape: GradientTape, node: ir.Node, gradient: ir.Value, weight: ir.Value, *, group: int) -> ir.Value:
    """Each gradient spread over the window that its output was computed from, overlaps summed."""
    x, y = source(node), node.outputs[0]
    if attribute(node, "auto_pad", "NOTSET") != "NOTSET" or attribute(node, "ceil_mode", 0):
        raise ExportError(f"the gradient of {node.op_type} is known to limbeck with pads in numbers, rounded down")
    num_axes = len(tape.shape(x)) - 2
    kernel = attribute(node, "kernel_shape")
    strides, pads, dilations = _window(node, num_axes)
    left_over = [
        tape.size(x, 2 + i)
        - ((tape.size(y, 2 + i) - 1) * strides[i] - pads[i] - pads[num_axes + i] + dilations[i] * (kernel[i] - 1) + 1)
        for i in range(num_axes)
    ]
    return tape.op(
        "ConvTranspose",
        gradient,
        weight,
        strides=strides,
        pads=pads,
        dilations=dilations,
        group=group,
        output_padding=left_over,
    )


def _window(node: ir.Node, num_axes: int) -> tuple[list[int], list[int], list[int]]:
    """Strides, pads, dilations."""
    ones, zeros = [1] * num_axes, [0] * (2 * num_axes)
    defaults = {"strides": ones, "pads": zeros, "dilations": ones}
    strides, pads, dilations = (list(attribute(node, name, default)) for name, default in defaults.items())
    return strides, pads, dilations


def _max_pool(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    """To the first largest value of each window, as torch; overlaps are summed.

    A convolution with one-hot kernels lays the windows side by side, and its transpose puts the gradients back. The
    pooling operator's own indices would do too, but TensorRT does not have that output.
    """
    x, gradient = source(node), only(gradients)
    height, width = attribute(node, "kernel_shape")
    _, channels, *sides = tape.shape(x)
    strides, pads, dilations = _window(node, 2)
    if channels is None or None in sides:
        raise ExportError("the gradient of MaxPool needs fixed channels, height and width; only the batch may be free")
    count = height * width
    kernels = np.eye(count, dtype=np.float32).reshape(count, 1, height, width)
    weight = tape.constant(np.tile(kernels, (channels, 1, 1, 1)))
    fill = tape.op("Pad", x, tape.sizes(0, 0, *pads[:2], 0, 0, *pads[2:]), tape.constant(_LOWEST))
    windows = tape.op("Conv", fill, weight, strides=strides, dilations=dilations, group=channels)
    outputs = [tape.size(node.outputs[0], axis) for axis in (2, 3)]
    apart = tape.op("Reshape", windows, tape.sizes(-1, channels, count, *outputs))
    first = tape.op("ArgMax", apart, axis=2, keepdims=1)
    chosen = tape.op("Equal", first, tape.constant(np.arange(count).reshape(count, 1, 1), np.int64))
    spread = tape.op("Where", chosen, tape.op("Unsqueeze", gradient, tape.sizes(2)), tape.constant(0))
    flat = tape.op("Reshape", spread, tape.sizes(-1, channels * count, *outputs))
    return [_transposed(tape, node, flat, weight, group=channels)]


def _global_average(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    x, gradient = source(node), only(gradients)
    count = tape.size(x, 2) * tape.size(x, 3)
    return [tape.op("Expand", tape.op("Mul", gradient, tape.constant(1 / count)), tape.op("Shape", x))]


SPATIAL: Mapping[str, Rule] = {
    "Conv": _conv,
    "GlobalAveragePool": _global_average,
    "MaxPool": _max_pool,
}
"""By operator."""
