"""Dynamic int8: weights quantized once, activations by the range they have in each run.

    x, scale_x, zero_x = DynamicQuantizeLinear(x)          one for all layers that read x
    y = Cast(MatMulInteger(x, W, zero_x)) * (scale_x * scale_W) + bias

The operators are ONNX's own. ONNX Runtime's CPU provider fuses the second line into one kernel.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx_ir as ir
from pydantic import JsonValue

from limbeck.quantize.graph_file import add_lazy, add_node, open_graph, replace, write_graph
from limbeck.quantize.linear import Linear, find_linears
from limbeck_kernels.quantize import symmetric_scales, to_integers


def write_int8(graph: Path, out: Path, *, skip: Collection[str] = (), min_weights: int = 65536) -> dict[str, JsonValue]:
    model = open_graph(graph)
    quantized: dict[ir.Value, tuple[ir.Value, ...]] = {}
    done = []
    for layer in list(find_linears(model.graph)):
        if layer.name in skip or layer.weight.size < min_weights:
            continue
        done.append(layer.name)
        _quantize(layer, quantized)
    write_graph(model, out)
    return {"layers": len(done)}


def _quantize(layer, quantized):
    if layer.x not in quantized:
        dql = add_node(layer.node, "DynamicQuantizeLinear", [layer.x], name=f"{layer.x.name}_quantized", outputs=3)
        quantized[layer.x] = tuple(dql.outputs)
    x, scale, zero = quantized[layer.x]
    graph = layer.node.graph
    w = layer
    scales = symmetric_scales(layer.matrix(), 0, 8)
    wq = add_lazy(graph, f"{layer.name}.int8", ir.DataType.INT8, (layer.num_in, layer.num_out), lambda: to_integers(w.matrix(), scales, 8))
    ws = add_lazy(graph, f"{layer.name}.scale", ir.DataType.FLOAT, (layer.num_out,), lambda: scales[0])
    n = layer.name
    at = layer.end
    acc = add_node(at, "MatMulInteger", [x, wq, zero], name=f"{n}.products").outputs[0]
    f = add_node(at, "Cast", [acc], name=f"{n}.sums", to=1).outputs[0]
    s = add_node(at, "Mul", [scale, ws], name=f"{n}.step").outputs[0]
    y = add_node(at, "Mul", [f, s], name=f"{n}.scaled").outputs[0]
    if layer.bias is not None:
        y = add_node(at, "Add", [y, layer.bias], name=f"{n}.biased").outputs[0]
    replace(layer.end, y)
