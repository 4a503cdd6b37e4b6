"""Dynamic int8: weights quantized once, activations by the range that they have in each run.

    x, scale_x, zero_x = DynamicQuantizeLinear(x)          one for all layers that read x
    y = Cast(MatMulInteger(x, W, zero_x)) * (scale_x * scale_W) + bias

ONNX's own operators, which ONNX Runtime's CPU provider fuses into one kernel a layer. Weights are symmetric int8 with
a scale for each output channel. Activations are uint8 with one range for the whole tensor, so a sample's result
depends a little on the others in its batch. Nothing has to be calibrated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import JsonValue

from limbeck.errors import ConfigError
from limbeck.quantize.convolution import Convolution, channels_first, convolution_of, windows
from limbeck.quantize.graph_file import add_lazy, add_node, add_weight, open_graph, replace, write_graph
from limbeck.quantize.linear import Linear, linear_of
from limbeck_kernels.quantize import symmetric_scales, to_integers

Layer: TypeAlias = Linear | Convolution

LEAST_WEIGHTS = 2**16
"""Layers with fewer weights stay float32. They take next to no time or memory, and the first that reads the latents and
the last that writes the prediction are among them (4 to 320 channels, 1152 to 32), whose errors nothing dilutes."""


def write_int8(
    graph: Path,
    out: Path,
    *,
    skip: Collection[str] = (),
    convolutions: bool = True,
    least_weights: int = LEAST_WEIGHTS,
) -> dict[str, JsonValue]:
    """Write `graph` to `out` with its linear layers and convolutions in dynamic int8.

    Args:
        graph: An ONNX file in float32; weights may be stored as float16.
        out: The file to write; weights lie beside it where they are large. A file that is there is replaced.
        skip: Names of layers that stay float32, as `layer_names` gives them.
        convolutions: Quantize these too. Their windows are laid out in memory, which takes up to five times the
            memory of their input.
        least_weights: Layers with fewer weights than this stay float32.

    Returns:
        The recipe: every setting, and which layers stayed float32.

    Raises:
        ConfigError: `skip` names a layer that the graph does not have, or no layer is left to quantize.
        PackError: The graph cannot be read.
        OutputError: `out` cannot be written.

    Weights pass through memory one at a time.
    """
    model = open_graph(graph)
    layers = list(find_layers(model.graph))
    check_names(skip, [layer.name for layer in layers], graph)
    chosen = [
        layer
        for layer in layers
        if layer.name not in skip and layer.weight.size >= least_weights and (convolutions or isinstance(layer, Linear))
    ]
    if not chosen:
        raise ConfigError(
            f"int8 has nothing to quantize in {graph}: none of its {len(layers)} layers is left after skip and "
            f"least_weights={least_weights}"
        )
    quantized: dict[ir.Value, _Quantized] = {}
    for layer in chosen:
        if layer.x not in quantized:
            quantized[layer.x] = _quantize_input(layer)
        _quantize_layer(layer, quantized[layer.x])
    write_graph(model, out)
    kept = {layer.name for layer in layers} - {layer.name for layer in chosen}
    return {
        "weights": "int8, symmetric, a scale for each output channel",
        "activations": "uint8, the range of the tensor in each run",
        "convolutions": convolutions,
        "least_weights": least_weights,
        "skip": [*sorted(skip)],
        "num_quantized": len(chosen),
        "float32": [*sorted(kept)],
    }


def layer_names(graph: Path) -> list[str]:
    """The layers of a graph that int8 can take, by the names that `skip` understands, in the graph's order.

    Raises:
        PackError: The graph cannot be read.
    """
    return [layer.name for layer in find_layers(open_graph(graph).graph)]


def find_layers(graph: ir.Graph) -> Iterator[Layer]:
    """Every linear layer and convolution, in the graph's order. The graph may be changed behind the last."""
    for node in list(graph):
        layer = linear_of(node) or convolution_of(node)
        if layer is not None:
            yield layer


def check_names(asked: Collection[str], known: Collection[str], graph: Path) -> None:
    """Refuse names of layers that a graph does not have.

    Raises:
        ConfigError: With the nearest names that it has.
    """
    for name in asked:
        if name not in known:
            near = get_close_matches(name, known, n=3) or sorted(known)[:3]
            raise ConfigError(
                f"{graph} has no layer '{name}' to leave in float32; near it: {', '.join(near) or 'none'}"
            )


_Quantized: TypeAlias = tuple[ir.Value, ir.Value, ir.Value]
"""An activation as uint8, with its scale and its zero point."""


def _quantize_input(layer: Layer) -> _Quantized:
    name = f"{layer.x.name}.uint8"
    node = add_node(layer.node, "DynamicQuantizeLinear", [layer.x], name=name, outputs=3)
    integers, scale, zero = node.outputs
    return integers, scale, zero


def _quantize_layer(layer: Layer, activation: _Quantized) -> None:
    integers, scale, zero = activation
    if isinstance(layer, Convolution):
        integers = windows(layer, integers, zero)
    y = _product(layer, integers, scale, zero)
    replace(layer.end, channels_first(layer, y) if isinstance(layer, Convolution) else y)


def _product(layer: Layer, integers: ir.Value, scale: ir.Value, zero: ir.Value) -> ir.Value:
    """The nodes of the module's second line; ONNX Runtime's fusion looks for exactly these, in this order."""
    graph, at, name = layer.node.graph, layer.end, layer.name
    assert isinstance(graph, ir.Graph), "the node is part of a graph"
    scales = symmetric_scales(layer.matrix(), axis=0, bits=8)
    shape = (layer.num_in, layer.num_out)
    weight = add_lazy(graph, f"{name}.int8", ir.DataType.INT8, shape, partial(_integers, layer, scales))
    step = add_weight(graph, f"{name}.scale", scales[0])
    sums = add_node(at, "MatMulInteger", [integers, weight, zero], name=f"{name}.sums").outputs[0]
    real = add_node(at, "Cast", [sums], name=f"{name}.real", to=ir.DataType.FLOAT.value).outputs[0]
    steps = add_node(at, "Mul", [scale, step], name=f"{name}.steps").outputs[0]
    y = add_node(at, "Mul", [real, steps], name=f"{name}.scaled").outputs[0]
    return y if layer.bias is None else add_node(at, "Add", [y, layer.bias], name=f"{name}.biased").outputs[0]


def _integers(layer: Layer, scales: NDArray[np.float32]) -> NDArray[np.int8]:
    return to_integers(layer.matrix(), scales, bits=8)
