"""Static int8: weights and activations in 8 bits, with ranges found by calibration, as QuantizeLinear/DequantizeLinear.

    x -> Q -> DQ -> layer <- DQ <- int8 weight

The graph stays valid standard ONNX in float32; a runtime sees the pattern and computes in int8. Two forms:

    onnxruntime   uint8 activations with a zero point; biases in int32, and what a convolution gives quantized too,
                  without which ONNX Runtime does not use its int8 kernels
    tensorrt      int8 activations without a zero point, the only one it takes; biases and results in float32
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import onnx_ir as ir
from pydantic import JsonValue

from limbeck.errors import ConfigError
from limbeck.quantize.graph_file import Weight, add_lazy, add_node, add_weight, constant, open_graph, write_graph
from limbeck.quantize.linear import find_linears, layer_name
from limbeck.quantize.ranges import NUM_STEPS, Range
from limbeck_kernels.quantize import Integers, Real, symmetric_scales, to_integers

Form = Literal["onnxruntime", "tensorrt"]

MIN_SIZE = 0.1
"""A layer with fewer weights than this share of the mean layer's stays float32. All such layers together hold less than
a tenth of the weights, and cost most: without the patch embedding and the last projection, 0.4 % of the weights, the
mini trunk's error falls from 1.8 to 1.1 %; without 16 of its convolutions, most of them depthwise, the mini backbone's
from 19 to 6.9 % in the form for TensorRT."""

_MAX_BIAS = 2**30
"""Largest int32 bias that is written: sums are added to it."""


@dataclass(frozen=True)
class Layer:
    """A MatMul, Gemm or Conv with a constant weight.

    Args:
        name: Of its parameters in the network, else of its node.
        node: What computes it.
        weight: Not read yet.
        axis: The weight's axis of output channels, each of which gets a scale.
    """

    name: str
    node: ir.Node
    weight: Weight
    axis: int

    @property
    def nbytes(self) -> int:
        """Of the weight in float32; in int8 it has a quarter."""
        return 4 * self.weight.size

    @property
    def x(self) -> ir.Value:
        """The activation that it reads."""
        value = self.node.inputs[0]
        assert value is not None, "a layer has an input"
        return value

    @property
    def end(self) -> ir.Value:
        """What a convolution gives, after the Relu or Clip that it is fused with."""
        value = self.node.outputs[0]
        users = value.consumers()
        if len(users) == 1 and users[0].op_type in ("Relu", "Clip") and not value.is_graph_output():
            return users[0].outputs[0]
        return value


def find_layers(model: ir.Model, *, form: Form = "onnxruntime") -> list[Layer]:
    """Every layer that can be quantized in `form`, in the graph's order.

    For ONNX Runtime a convolution whose result is an output of the graph is none: its result would have to be in
    8 bits too.
    """
    linears = {
        each.node: Layer(each.name, each.node, each.weight, 0 if each.transposed else 1)
        for each in find_linears(model.graph)
    }
    layers = (linears.get(node) or _convolution(node, form) for node in model.graph)
    return [layer for layer in layers if layer is not None]


def activations(graph: Path, *, form: Form = "onnxruntime", skip: Collection[str] = ()) -> tuple[str, ...]:
    """The values of `graph` whose ranges `write_static_int8` needs, with those of its small layers."""
    layers = [layer for layer in find_layers(open_graph(graph), form=form) if layer.name not in skip]
    values = [value for layer in layers for value in _activations_of(layer, form)]
    return tuple(dict.fromkeys(str(value.name) for value in values))


def write_static_int8(
    graph: Path,
    out: Path,
    *,
    ranges: Mapping[str, Range],
    form: Form = "onnxruntime",
    skip: Collection[str] = (),
    min_size: float = MIN_SIZE,
    calibration: Mapping[str, JsonValue] | None = None,
) -> dict[str, JsonValue]:
    """Write `graph` to `out` with its layers between Q/DQ nodes; inputs and outputs stay float32.

    Args:
        graph: A float32 graph.
        out: The file to write.
        ranges: Of all `activations` of the same form and skip.
        form: For which runtime.
        skip: Names of layers that stay float32.
        min_size: Layers with less than this share of the mean layer's weights stay float32 too; 0 is none.
        calibration: Where the ranges come from; goes into the recipe as it is.

    Returns:
        The recipe: every setting, and a digest of the ranges.

    Raises:
        ConfigError: A range is missing, `skip` names no layer, or the form does not exist.
        PackError, OutputError: `graph` cannot be read, `out` cannot be written.
    """
    if form not in get_args(Form):
        raise ConfigError(f"unknown form '{form}' of static int8; there are {', '.join(get_args(Form))}")
    model = open_graph(graph)
    layers = find_layers(model, form=form)
    unknown = sorted(set(skip) - {layer.name for layer in layers})
    if unknown:
        some = ", ".join(layer.name for layer in layers[:5])
        raise ConfigError(f"{graph} has no layer {', '.join(unknown)} to skip; it has {len(layers)}, such as {some}")
    least = min_size * sum(layer.nbytes for layer in layers) / max(len(layers), 1)
    chosen = [layer for layer in layers if layer.name not in skip and layer.nbytes >= least]
    quantize_layers(model, chosen, ranges, form=form)
    write_graph(model, out)
    content = json.dumps({name: [kept.low, kept.high] for name, kept in sorted(ranges.items())})
    return {
        "form": form,
        "skip": [*sorted(skip)],
        "min_size": min_size,
        "ranges": hashlib.sha256(content.encode()).hexdigest()[:16],
        "calibration": dict(calibration or {}),
    }


def quantize_layers(
    model: ir.Model, layers: Collection[Layer], ranges: Mapping[str, Range], *, form: Form = "onnxruntime"
) -> None:
    """Put `layers`, of `find_layers`, between Q/DQ nodes; changes `model`.

    Raises:
        ConfigError: The range of an activation is missing.
    """
    needed = {str(value.name): layer.name for layer in layers for value in _activations_of(layer, form)}
    missing = sorted(needed.keys() - ranges.keys())
    if missing:
        shown = ", ".join(f"'{name}' (layer '{needed[name]}')" for name in missing[:5])
        raise ConfigError(
            f"{len(missing)} of {len(needed)} activations have no range: {shown}; gather_ranges of activations(graph)"
        )
    rewrite = _Rewrite(model.graph, ranges, form)
    for layer in layers:
        rewrite.quantize(layer)


class _Rewrite:
    """Puts Q/DQ pairs into a graph; an activation gets one pair, whoever reads it."""

    def __init__(self, graph: ir.Graph, ranges: Mapping[str, Range], form: Form) -> None:
        self._graph = graph
        self._ranges = ranges
        self._form = form
        self._pairs: dict[ir.Value, ir.Value] = {}
        self._scales: dict[ir.Value, np.float32] = {}

    def quantize(self, layer: Layer) -> None:
        x = self._pair(layer.x, layer.node)
        scales = self._weight_scales(layer, self._scales[x])
        layer.node.replace_input_with(0, x)
        layer.node.replace_input_with(1, self._weight(layer, scales))
        if self._form == "onnxruntime":
            self._quantize_bias(layer, self._scales[x] * scales.ravel())
            if layer.node.op_type == "Conv":
                self._quantize_result(layer.end)

    def _pair(self, value: ir.Value, before: ir.Node) -> ir.Value:
        """`value` quantized and back, made once, before a node that reads it."""
        if value in self._scales:
            return value
        if value not in self._pairs:
            kept = self._ranges[str(value.name)]
            scale, zero = _grid(kept, self._form)
            parameters = (
                add_weight(self._graph, f"{value.name}.scale", np.array(scale)),
                add_weight(self._graph, f"{value.name}.zero_point", np.array(zero)),
            )
            small = add_node(before, "QuantizeLinear", [value, *parameters], name=f"{value.name}.quantized")
            back = add_node(before, "DequantizeLinear", [*small.outputs, *parameters], name=f"{value.name}.dequantized")
            self._pairs[value] = back.outputs[0]
            self._scales[back.outputs[0]] = scale
        return self._pairs[value]

    def _quantize_result(self, value: ir.Value) -> None:
        """Let everything that reads `value` read it quantized and back."""
        users = [(node, index) for node, index in value.uses() if node.op_type != "QuantizeLinear"]
        first = next(node for node in self._graph if any(node is user for user, _ in users))
        back = self._pair(value, first)
        for node, index in users:
            node.replace_input_with(index, back)

    def _weight_scales(self, layer: Layer, x_scale: np.float32) -> Real:
        """One scale an output channel, broadcast to the weight; large enough for the bias to be an int32."""
        others = tuple(axis for axis in range(len(layer.weight.shape)) if axis != layer.axis)
        scales = symmetric_scales(layer.weight.read(), others, 8)
        bias = _bias(layer)
        if self._form == "onnxruntime" and bias is not None:
            least = (np.abs(bias.read()) / (x_scale * _MAX_BIAS)).reshape(scales.shape)
            scales = np.maximum(scales, least.astype(np.float32))
        return scales

    def _weight(self, layer: Layer, scales: Real) -> ir.Value:
        def compute() -> Integers:
            return to_integers(layer.weight.read(), scales, 8)

        small = add_lazy(self._graph, f"{layer.name}.int8", ir.DataType.INT8, layer.weight.shape, compute)
        return self._dequantized(small, scales.ravel(), layer.node, layer.axis)

    def _quantize_bias(self, layer: Layer, scales: Real) -> None:
        bias = _bias(layer)
        if bias is None:
            return
        values = np.rint(bias.read().astype(np.float64) / scales).astype(np.int32)
        small = add_weight(self._graph, f"{layer.name}.bias.int32", values)
        layer.node.replace_input_with(2, self._dequantized(small, scales, layer.node, 0))

    def _dequantized(self, small: ir.Value, scales: Real, before: ir.Node, axis: int) -> ir.Value:
        """Integers as float32. The zero points say nothing, but ONNX Runtime has no int8 Gemm without them."""
        zeros = np.zeros(scales.shape, _stored_dtype(small))
        parameters = (
            add_weight(self._graph, f"{small.name}.scale", scales),
            add_weight(self._graph, f"{small.name}.zero_point", zeros),
        )
        name = f"{small.name}.dequantized"
        return add_node(before, "DequantizeLinear", [small, *parameters], name=name, axis=axis).outputs[0]


def _grid(kept: Range, form: Form) -> tuple[np.float32, np.uint8 | np.int8]:
    """Scale and zero point of 8 bits over a range."""
    if form == "tensorrt":
        peak = max(-kept.low, kept.high)
        return np.float32(peak / 127 if peak else 1), np.int8(0)
    scale = np.float32((kept.high - kept.low) / NUM_STEPS or 1)
    return scale, np.uint8(np.clip(np.rint(-kept.low / scale), 0, NUM_STEPS))


def _activations_of(layer: Layer, form: Form) -> Iterator[ir.Value]:
    yield layer.x
    if form == "onnxruntime" and layer.node.op_type == "Conv":
        yield layer.end


def _convolution(node: ir.Node, form: Form) -> Layer | None:
    if node.domain != "" or node.op_type != "Conv":
        return None
    weight = constant(node.inputs[1])
    if weight is None or weight.dtype != ir.DataType.FLOAT:
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and constant(bias) is None:
        return None
    layer = Layer(layer_name(node, weight, bias), node, weight, 0)
    return None if form == "onnxruntime" and layer.end.is_graph_output() else layer


def _bias(layer: Layer) -> Weight | None:
    return constant(layer.node.inputs[2]) if len(layer.node.inputs) > 2 else None


def _stored_dtype(weight: ir.Value) -> np.dtype[np.generic]:
    assert weight.dtype is not None, "a new weight has a type"
    return weight.dtype.numpy()
