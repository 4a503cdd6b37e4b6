"""Weights as small integers, arithmetic in float32: for memory, where int8 activations cost too much quality.

Two forms:

    matmul_nbits    com.microsoft.MatMulNBits, ONNX Runtime's: unpacked inside the product, never held in float32
    dequantize      DequantizeLinear before the layer, the standard's: every runtime reads it, few keep it small

ONNX Runtime's CPU provider turns the second into the first when it loads the graph, and then also makes int8 of the
activations, block by block, unless the session says `session.qdq_matmulnbits_accuracy_level` 0 or 1.

In both, a scale is shared by a block of consecutive inputs of one output, or by all of them.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import JsonValue

from limbeck.errors import ConfigError
from limbeck.quantize.graph_file import Values, add_lazy, add_node, add_weight, open_graph, replace, write_graph
from limbeck.quantize.int8 import LEAST_WEIGHTS, check_names, find_layers
from limbeck.quantize.linear import Linear, find_linears
from limbeck_kernels.quantize import pack_pairs, symmetric_scales, to_integers

Form = Literal["matmul_nbits", "dequantize"]

DEFAULT_BLOCKS = {8: 128, 4: 32}
"""Inputs that share a scale, by bits: fewer for 4 bits, whose 15 levels have to follow the weights more closely."""


def write_weight_only(
    graph: Path,
    out: Path,
    *,
    bits: Literal[4, 8],
    block: int | None = None,
    form: Form = "matmul_nbits",
    accuracy_level: Literal[0, 1, 4] = 0,
    skip: Collection[str] = (),
    least_weights: int = LEAST_WEIGHTS,
) -> dict[str, JsonValue]:
    """Write `graph` to `out` with the matrices of its linear layers in `bits` bits.

    Args:
        graph: An ONNX file in float32; weights may be stored as float16.
        out: The file to write; weights lie beside it where they are large. A file that is there is replaced.
        bits: Of a weight.
        block: Inputs that share a scale, a power of two from 16 on; `DEFAULT_BLOCKS` if not given.
        form: See the module.
        accuracy_level: Of MatMulNBits: 0 and 1 compute in float32; 4 makes int8 of the activations too, block by
            block, which is faster and batch-independent, but no longer weight-only.
        skip: Names of layers that stay float32, as `int8.layer_names` gives them.
        least_weights: Layers with fewer weights than this stay float32.

    Returns:
        The recipe: every setting, and which layers stayed float32.

    Raises:
        ConfigError: A setting that cannot work, `skip` names a layer that the graph does not have, or no layer is
            left to quantize.
        PackError: The graph cannot be read.
        OutputError: `out` cannot be written.

    Convolutions stay float32. Weights pass through memory one at a time.
    """
    block = DEFAULT_BLOCKS[bits] if block is None else block
    if block < 16 or block & (block - 1):
        raise ConfigError(f"weight-only needs a block that is a power of two from 16 on, got block={block}")
    model = open_graph(graph)
    check_names(skip, [layer.name for layer in find_layers(model.graph)], graph)
    layers = list(find_linears(model.graph))
    chosen = [layer for layer in layers if layer.name not in skip and layer.weight.size >= least_weights]
    if not chosen:
        raise ConfigError(
            f"weight-only has nothing to quantize in {graph}: none of its {len(layers)} linear layers is left after "
            f"skip and least_weights={least_weights}"
        )
    for layer in chosen:
        if form == "matmul_nbits":
            y = _matmul_nbits(layer, bits, block, accuracy_level)
        else:
            y = _dequantized(layer, bits, block)
        if layer.bias is not None:
            y = add_node(layer.end, "Add", [y, layer.bias], name=f"{layer.name}.biased").outputs[0]
        replace(layer.end, y)
    write_graph(model, out)
    kept = {layer.name for layer in layers} - {layer.name for layer in chosen}
    return {
        "weights": f"int{bits}, symmetric, a scale for each {block} inputs of an output",
        "activations": "int8, by block" if form == "matmul_nbits" and accuracy_level == 4 else "float32",
        "bits": bits,
        "block": block,
        "form": form,
        "accuracy_level": accuracy_level,
        "least_weights": least_weights,
        "skip": [*sorted(skip)],
        "num_quantized": len(chosen),
        "float32": [*sorted(kept)],
    }


def _matmul_nbits(layer: Linear, bits: int, block: int, accuracy_level: int) -> ir.Value:
    """One node. It stores outputs first, integers unsigned (zero is half the range), two of 4 bits in a byte."""
    graph, name = _graph(layer), layer.name
    num_blocks = -(-layer.num_in // block)
    scales = _scales(layer, bits, block)
    shape = (layer.num_out, num_blocks, block * bits // 8)
    packed = add_lazy(graph, f"{name}.packed", ir.DataType.UINT8, shape, partial(_packed, layer, scales, bits, block))
    return add_node(
        layer.end,
        "MatMulNBits",
        [layer.x, packed, add_weight(graph, f"{name}.scale", scales.reshape(-1))],
        name=f"{name}.product",
        domain="com.microsoft",
        K=layer.num_in,
        N=layer.num_out,
        bits=bits,
        block_size=block,
        accuracy_level=accuracy_level,
    ).outputs[0]


def _dequantized(layer: Linear, bits: int, block: int) -> ir.Value:
    graph, name = _graph(layer), layer.name
    dtype = ir.DataType.INT8 if bits == 8 else ir.DataType.INT4
    scales = _scales(layer, bits, block)
    shape = (layer.num_in, layer.num_out)
    weight = add_lazy(graph, f"{name}.int{bits}", dtype, shape, partial(_columns, layer, scales, bits, block))
    scale = add_weight(graph, f"{name}.scale", np.ascontiguousarray(scales[:, :, 0].T))
    real = add_node(layer.end, "DequantizeLinear", [weight, scale], name=f"{name}.real", axis=0, block_size=block)
    return add_node(layer.end, "MatMul", [layer.x, real.outputs[0]], name=f"{name}.product").outputs[0]


def _blocks(layer: Linear, block: int) -> NDArray[np.float32]:
    """The matrix as (num_out, blocks, block), the last block filled with zeros."""
    matrix = layer.matrix().T
    num_blocks = -(-layer.num_in // block)
    padded = np.pad(matrix, [(0, 0), (0, num_blocks * block - layer.num_in)])
    return padded.reshape(layer.num_out, num_blocks, block)


def _scales(layer: Linear, bits: int, block: int) -> NDArray[np.float32]:
    return symmetric_scales(_blocks(layer, block), axis=2, bits=bits)


def _packed(layer: Linear, scales: NDArray[np.float32], bits: int, block: int) -> NDArray[np.uint8]:
    unsigned = (to_integers(_blocks(layer, block), scales, bits) + np.int16(2 ** (bits - 1))).astype(np.uint8)
    return unsigned if bits == 8 else pack_pairs(unsigned)


def _columns(layer: Linear, scales: NDArray[np.float32], bits: int, block: int) -> Values:
    integers = to_integers(_blocks(layer, block), scales, bits).reshape(layer.num_out, -1)
    columns = np.ascontiguousarray(integers[:, : layer.num_in].T)
    return columns if bits == 8 else columns.astype(ir.DataType.INT4.numpy())


def _graph(layer: Linear) -> ir.Graph:
    graph = layer.node.graph
    assert isinstance(graph, ir.Graph), "the node is part of a graph"
    return graph
