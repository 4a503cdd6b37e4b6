"""Which values of a graph are float32, and which operators compute in a smaller type, by the operators' own schemas.

A schema gives each input and output a type variable ("T"), or one type. A node can compute in float16 or bfloat16 if
the variables of its outputs allow it; an input with a variable of its own that does not stays float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import ml_dtypes
import onnx_ir as ir

from limbeck.errors import ConfigError
from limbeck.quantize.graph_file import constant

if TYPE_CHECKING:
    import onnx

HalfName: TypeAlias = Literal["float16", "bfloat16"]

_OWN_TYPE = {"Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
"""Operators whose point is the type they give; they keep it."""


@dataclass(frozen=True)
class Half:
    """A 16-bit float.

    Args:
        name: As NumPy and ONNX write it.
        dtype: In ONNX.
        largest: The largest finite value.
        rounding: The largest relative error of rounding one value in the normal range: half a unit in the last place.
    """

    name: HalfName
    dtype: ir.DataType
    largest: float
    rounding: float


def half(name: HalfName) -> Half:
    """The 16-bit float of this name.

    Raises:
        ConfigError: There is none.
    """
    types = {"float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16}
    if name not in types:
        raise ConfigError(f"unknown half precision '{name}'; there are float16 and bfloat16")
    limits = ml_dtypes.finfo(types[name].numpy())  # type: ignore[no-untyped-call]
    return Half(name, types[name], float(limits.max), float(limits.eps) / 2)


def label(node: ir.Node) -> str:
    """What a node is called: its name, or its first output's where it has none."""
    return node.name or node.outputs[0].name or node.op_type


def refuse_subgraphs(model: ir.Model) -> None:
    """Raise `ConfigError` for a graph with If, Loop or functions, through which types are not followed."""
    nested = [
        label(node)
        for node in model.graph
        if any(item.type == ir.AttributeType.GRAPH for item in node.attributes.values())
    ]
    if nested or model.functions:
        found = ", ".join(nested) or "functions"
        raise ConfigError(f"the graph has nested graphs ({found}); export it without control flow to change its types")


def float_values(model: ir.Model) -> set[ir.Value]:
    """Every value that is float32: inputs, weights and results.

    Raises:
        ConfigError: A node is of an operator without a known schema.
    """
    floats = {value for value in (*model.graph.inputs, *model.graph.initializers.values()) if _is_float(value)}
    for node in model.graph:
        for index, output in enumerate(node.outputs):
            if _gives_float(model, node, index, floats):
                floats.add(output)
    return floats


def computes_in(model: ir.Model, node: ir.Node, kind: Half, floats: set[ir.Value]) -> bool:
    """Whether the schema lets `node` take its float32 inputs in `kind` and give its float32 outputs in it."""
    if node.op_type in _OWN_TYPE or not any(value in floats for value in node.inputs):
        return False
    schema = _Schema(model, node)
    outputs = {schema.output(i) for i, value in enumerate(node.outputs) if value in floats and _is_used(value)}
    inputs = {schema.input(i) for i, value in enumerate(node.inputs) if value in floats}
    return bool(inputs) and all(schema.allows(variable, kind.name) for variable in outputs or inputs)


def takes(model: ir.Model, node: ir.Node, index: int, kind: Half) -> bool:
    """Whether the schema lets this input of a node that computes in `kind` be in `kind`."""
    schema = _Schema(model, node)
    return schema.allows(schema.input(index), kind.name)


class _Schema:
    """Type variables by position. Contributed operators compute in the type of their first input, all of them."""

    def __init__(self, model: ir.Model, node: ir.Node) -> None:
        self._inputs, self._outputs = ["T"], ["T"]
        self._allowed: dict[str, Sequence[str]] | None = None
        if node.domain == "":
            known = _standard(node, model.opset_imports[""])
            self._inputs = [each.type_str for each in known.inputs]
            self._outputs = [each.type_str for each in known.outputs]
            self._allowed = {each.type_param_str: each.allowed_type_strs for each in known.type_constraints}

    def input(self, index: int) -> str:
        return self._inputs[min(index, len(self._inputs) - 1)]

    def output(self, index: int) -> str:
        return self._outputs[min(index, len(self._outputs) - 1)]

    def allows(self, variable: str, dtype: str) -> bool:
        return self._allowed is None or f"tensor({dtype})" in self._allowed.get(variable, [variable])


def _standard(node: ir.Node, version: int) -> onnx.defs.OpSchema:
    import onnx

    try:
        return onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError as error:
        raise ConfigError(
            f"node '{label(node)}' is a {node.op_type}, which ONNX's opset {version} does not have; "
            "export the graph with standard operators"
        ) from error


def _gives_float(model: ir.Model, node: ir.Node, index: int, floats: set[ir.Value]) -> bool:
    known = constant(node.outputs[index])
    if known is not None:
        return known.dtype == ir.DataType.FLOAT
    if node.op_type == "Cast":
        return node.attributes["to"].as_int() == ir.DataType.FLOAT
    schema = _Schema(model, node)
    variable = schema.output(index)
    if not schema.allows(variable, "float"):
        return False
    bound = [value for i, value in enumerate(node.inputs) if value is not None and schema.input(i) == variable]
    return bound[0] in floats if bound else _chosen_type(node) == ir.DataType.FLOAT


def _chosen_type(node: ir.Node) -> ir.DataType:
    """The type of a result that no input decides: by attribute, float32 where it is left out."""
    if "dtype" in node.attributes:
        return ir.DataType(node.attributes["dtype"].as_int())
    if "output_dtype" in node.attributes and node.attributes["output_dtype"].as_int():
        return ir.DataType(node.attributes["output_dtype"].as_int())
    if "value" in node.attributes:
        return node.attributes["value"].as_tensor().dtype
    return ir.DataType.FLOAT


def _is_float(value: ir.Value) -> bool:
    stored = value.const_value
    return (stored.dtype if stored is not None else value.dtype) == ir.DataType.FLOAT


def _is_used(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()
