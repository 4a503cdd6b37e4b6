"""The linear layers of a graph, in the forms that exporters write them.

    MatMul(x, W)           then perhaps Add(bias)
    Gemm(x, W, bias)       W as stored or transposed

A layer has the name of its parameters in the network, which the exporter keeps for the bias (`attentions.0.to_q.bias`)
but not for a matrix that it transposed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from limbeck.quantize.graph_file import Weight, constant


@dataclass(frozen=True)
class Linear:
    """y = x W + b.

    Args:
        name: Of the layer in the network, or of its node where the graph does not tell.
        weight: Not read yet.
        transposed: The weight is stored as (num_out, num_in).
        bias: Shape (num_out,) or none.
        node: The MatMul or Gemm.
        end: The node whose output is y: `node` itself or the Add after it.
    """

    name: str
    weight: Weight
    transposed: bool
    bias: ir.Value | None
    node: ir.Node
    end: ir.Node

    @property
    def x(self) -> ir.Value:
        """The input, (..., num_in), as the graph has it now."""
        x = self.node.inputs[0]
        assert x is not None, "a MatMul and a Gemm have an input"
        return x

    @property
    def num_in(self) -> int:
        """The number of input features."""
        return self.weight.shape[1 if self.transposed else 0]

    @property
    def num_out(self) -> int:
        """The number of output features."""
        return self.weight.shape[0 if self.transposed else 1]

    def matrix(self) -> NDArray[np.float32]:
        """W as (num_in, num_out), read from disk."""
        values: NDArray[np.float32] = self.weight.read()
        return np.ascontiguousarray(values.T) if self.transposed else values


def find_linears(graph: ir.Graph) -> Iterator[Linear]:
    """Every layer with a constant float32 matrix, in the graph's order. The graph may be changed behind the last."""
    for node in list(graph):
        if (layer := linear_of(node)) is not None:
            yield layer


def linear_of(node: ir.Node) -> Linear | None:
    """The layer that a MatMul or Gemm computes, if its matrix is a float32 constant; None for any other node."""
    if node.domain == "" and node.op_type == "MatMul":
        return _of_matmul(node)
    if node.domain == "" and node.op_type == "Gemm":
        return _of_gemm(node)
    return None


def layer_name(node: ir.Node, weight: Weight, bias: ir.Value | None) -> str:
    """What people call the layer that `node` computes: its parameters' common name, else the node's."""
    if bias is not None and (known := constant(bias)) is not None and known.name.endswith(".bias"):
        return known.name.removesuffix(".bias")
    stored = weight.name.removesuffix(".float16")
    return stored.removesuffix(".weight") if stored.endswith(".weight") else node.name or stored


def _of_matmul(node: ir.Node) -> Linear | None:
    weight = _matrix(node.inputs[1])
    if weight is None:
        return None
    bias, end = _added_bias(node, weight.shape[1])
    return Linear(layer_name(node, weight, bias), weight, False, bias, node, end)


def _of_gemm(node: ir.Node) -> Linear | None:
    weight = _matrix(node.inputs[1])
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    plain = not node.attributes.get_int("transA", 0) and all(
        node.attributes.get_float(factor, 1.0) == 1 for factor in ("alpha", "beta")
    )
    if weight is None or not plain:
        return None
    transposed = bool(node.attributes.get_int("transB", 0))
    num_out = weight.shape[0 if transposed else 1]
    if bias is not None and not _is_vector(bias, num_out):
        return None
    return Linear(layer_name(node, weight, bias), weight, transposed, bias, node, node)


def _matrix(value: ir.Value | None) -> Weight | None:
    weight = constant(value)
    return weight if weight is not None and weight.dtype == ir.DataType.FLOAT and len(weight.shape) == 2 else None


def _added_bias(node: ir.Node, num_out: int) -> tuple[ir.Value | None, ir.Node]:
    """The constant vector that the only user of a MatMul adds, and that user; or none and the MatMul."""
    users = list(node.outputs[0].uses())
    if len(users) == 1 and not node.outputs[0].is_graph_output():
        add, place = users[0]
        if add.domain == "" and add.op_type == "Add":
            other = add.inputs[1 - place]
            if other is not None and _is_vector(other, num_out):
                return other, add
    return None, node


def _is_vector(value: ir.Value, size: int) -> bool:
    known = constant(value)
    return known is not None and known.shape == (size,) and known.dtype == ir.DataType.FLOAT
