"""The convolutions of a graph, and how one becomes a matrix product.

An integer convolution is what ONNX Runtime's CPU provider does worst: `ConvInteger` takes five times as long as the
same convolution in float32. Its integer matrix product is what it does best. So the windows under the kernel are
laid side by side, as bytes, in channels-last order, and the convolution is a product with a matrix of
(kernel height * kernel width * channels, channels out):

    x (batch, channels, height, width)  to  (batch, height out, width out, kernel height * kernel width * channels)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from limbeck.quantize.graph_file import Weight, add_node, add_weight, constant
from limbeck.quantize.linear import layer_name

_TO_THE_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Convolution:
    """A two-dimensional convolution with a constant float32 filter, in one group and not dilated.

    Args:
        name: Of the layer in the network, or of its node where the graph does not tell.
        weight: Not read yet; (channels out, channels, kernel height, kernel width).
        bias: Shape (channels out,) or none.
        node: The Conv.
        strides: Down and across.
        pads: Zeros at top, left, bottom, right.
    """

    name: str
    weight: Weight
    bias: ir.Value | None
    node: ir.Node
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]

    @property
    def x(self) -> ir.Value:
        """The input, (batch, channels, height, width), as the graph has it now."""
        x = self.node.inputs[0]
        assert x is not None, "a Conv has an input"
        return x

    @property
    def end(self) -> ir.Node:
        """The node whose output is the layer's."""
        return self.node

    @property
    def num_in(self) -> int:
        """Values in a window: rows of the matrix."""
        return int(np.prod(self.weight.shape[1:]))

    @property
    def num_out(self) -> int:
        """Channels out: columns of the matrix."""
        return self.weight.shape[0]

    def matrix(self) -> NDArray[np.float32]:
        """The filter as (num_in, num_out), read from disk, in the order of `windows`."""
        values: NDArray[np.float32] = self.weight.read()
        return np.ascontiguousarray(values.transpose(2, 3, 1, 0)).reshape(self.num_in, self.num_out)


def convolution_of(node: ir.Node) -> Convolution | None:
    """The layer that a Conv computes, if it is of that kind; None for any other node."""
    if node.domain != "" or node.op_type != "Conv":
        return None
    weight, attributes = constant(node.inputs[1]), node.attributes
    if weight is None or len(weight.shape) != 4 or weight.dtype != ir.DataType.FLOAT:
        return None
    dilated = tuple(attributes.get_ints("dilations", (1, 1))) != (1, 1)
    if dilated or attributes.get_int("group", 1) != 1 or attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    down, across = attributes.get_ints("strides", (1, 1))
    top, left, bottom, right = attributes.get_ints("pads", (0, 0, 0, 0))
    return Convolution(layer_name(node, weight, bias), weight, bias, node, (down, across), (top, left, bottom, right))


def windows(layer: Convolution, x: ir.Value, zero: ir.Value) -> ir.Value:
    """`x` as (batch, height out, width out, num_in), before the convolution; outside the image it is `zero`.

    Any element type; `x` has the shape of the layer's input.
    """
    node, graph = layer.node, _graph(layer)
    last = add_node(node, "Transpose", [x], name=f"{layer.name}.channels_last", perm=(0, 2, 3, 1)).outputs[0]
    axes = add_weight(graph, f"{layer.name}.axes", np.array([1, 2]))
    if any(layer.pads):
        pads = add_weight(graph, f"{layer.name}.pads", np.array(layer.pads))
        last = add_node(node, "Pad", [last, pads, zero, axes], name=f"{layer.name}.padded").outputs[0]
    kernel = layer.weight.shape[2:]
    if kernel == (1, 1) and layer.strides == (1, 1):
        return last
    strides = add_weight(graph, f"{layer.name}.strides", np.array(layer.strides))
    shifted = []
    for offset in product(*map(range, kernel)):
        name = f"{layer.name}.under_{offset[0]}_{offset[1]}"
        left = [index - size + 1 for index, size in zip(offset, kernel, strict=True)]
        starts = add_weight(graph, f"{name}.starts", np.array(offset))
        ends = add_weight(graph, f"{name}.ends", np.array([end or _TO_THE_END for end in left]))
        shifted.append(add_node(node, "Slice", [last, starts, ends, axes, strides], name=name).outputs[0])
    return add_node(node, "Concat", shifted, name=f"{layer.name}.windows", axis=-1).outputs[0]


def channels_first(layer: Convolution, y: ir.Value) -> ir.Value:
    """(batch, height, width, channels) as the layer gives it, (batch, channels, height, width)."""
    return add_node(layer.node, "Transpose", [y], name=f"{layer.name}.channels_first", perm=(0, 3, 1, 2)).outputs[0]


def _graph(layer: Convolution) -> ir.Graph:
    graph = layer.node.graph
    assert isinstance(graph, ir.Graph), "the node is part of a graph"
    return graph
