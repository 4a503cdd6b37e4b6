"""How far the sums inside an operator can reach: nothing outside sees them, and a kernel may hold them in 16 bits.

    MatMul, Gemm, Conv              sum |x| |w|         bounds every partial sum, in any order
    ReduceMean, ReduceSum, …        sum |x|             a mean may be divided at the end
    ReduceL2, InstanceNormalization sum x^2
    MultiHeadAttention              |q . k|, before the scale, for some of the queries

LayerNormalization and GroupNormalization say in the graph (`stash_type`) that they sum in float32.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from limbeck.quantize.instrument import Probes

_NUM_QUERIES = 64
"""Queries of an attention that are looked at: scores of all of them would be the matrix that the operator avoids."""

_PRODUCTS = {"MatMul", "Gemm", "Conv", "ConvTranspose"}
_SUMS = {"ReduceSum", "ReduceL1"}
_MEANS = {"ReduceMean", "GlobalAveragePool"}
_SQUARES = {"ReduceL2", "ReduceSumSquare"}


def accumulated(probes: Probes, node: ir.Node) -> ir.Value | None:
    """A scalar: the largest magnitude that a sum inside `node` can take on its way; None where it has no sums."""
    if node.op_type in _PRODUCTS | _SUMS:
        return probes.op("ReduceMax", _again(probes, node, "Abs"), keepdims=0)
    if node.op_type in _MEANS:
        return _times_count(probes, node, _again(probes, node, "Abs"))
    if node.op_type in _SQUARES:
        x = node.inputs[0]
        squares = ir.node("ReduceSumSquare", [x, *node.inputs[1:]], dict(node.attributes))
        return probes.op("ReduceMax", probes.add(squares)[0], keepdims=0)
    if node.op_type == "InstanceNormalization":
        x = node.inputs[0]
        mean = probes.op("GlobalAveragePool", probes.op("Mul", x, x))
        return _scaled_up(probes, mean, x, mean)
    if is_attention(node):
        return probes.largest(_products(probes, node))
    return None


def is_attention(node: ir.Node) -> bool:
    """Whether `node` is a MultiHeadAttention of separate queries, keys and values."""
    return node.op_type == "MultiHeadAttention" and len(node.inputs) >= 3 and None not in node.inputs[:3]


def attention_weights(probes: Probes, node: ir.Node, rounded_to: ir.DataType | None = None) -> ir.Value:
    """The softmax of some queries' scores, shape (batch, heads, queries, keys); with the scores rounded if asked."""
    products = _products(probes, node)
    if "scale" in node.attributes and node.attributes["scale"].as_float():
        scale = probes.constant(np.array(node.attributes["scale"].as_float(), np.float32))
        scores = probes.op("Mul", products, scale)
    else:
        width = probes.op("Shape", _heads(probes, node, 0), start=3, end=4)
        scores = probes.op("Div", products, probes.op("Sqrt", probes.op("Cast", width, to=ir.DataType.FLOAT)))
    return probes.op("Softmax", scores if rounded_to is None else probes.rounded(scores, rounded_to), axis=-1)


def _products(probes: Probes, node: ir.Node) -> ir.Value:
    """q . k of every k and about `_NUM_QUERIES` of the q, evenly spread."""
    query = _heads(probes, node, 0)
    count = probes.op("Shape", query, start=1, end=2)
    one, many = probes.constant(np.array([1])), probes.constant(np.array([_NUM_QUERIES]))
    step = probes.op("Add", probes.op("Div", count, many), one)
    some = probes.op("Slice", query, probes.constant(np.array([0])), count, one, step)
    key = probes.op("Transpose", _heads(probes, node, 1), perm=[0, 2, 3, 1])
    return probes.op("MatMul", probes.op("Transpose", some, perm=[0, 2, 1, 3]), key)


def _heads(probes: Probes, node: ir.Node, index: int) -> ir.Value:
    """An input (batch, tokens, heads * size) as (batch, tokens, heads, size)."""
    shape = probes.constant(np.array([0, 0, node.attributes["num_heads"].as_int(), -1]))
    return probes.op("Reshape", node.inputs[index], shape)


def _again(probes: Probes, node: ir.Node, before: str) -> ir.Value:
    """The result of `node` with `before` applied to what it computes with; axes and shapes are left alone."""
    computed = len(node.inputs) if node.op_type in _PRODUCTS else 1
    inputs = [
        probes.op(before, value) if value is not None and index < computed else value
        for index, value in enumerate(node.inputs)
    ]
    return probes.add(ir.node(node.op_type, inputs, dict(node.attributes)))[0]


def _times_count(probes: Probes, node: ir.Node, mean: ir.Value) -> ir.Value:
    return _scaled_up(probes, mean, node.inputs[0], node.outputs[0])


def _scaled_up(probes: Probes, mean: ir.Value, x: ir.Value | None, y: ir.Value) -> ir.Value:
    """The largest of `mean`, times the number of elements of `x` in each element of `y`."""
    count = probes.op("Div", probes.op("Size", x), probes.op("Size", y))
    return probes.op("Mul", probes.op("ReduceMax", mean, keepdims=0), probes.op("Cast", count, to=ir.DataType.FLOAT))
