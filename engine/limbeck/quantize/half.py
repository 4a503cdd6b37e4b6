"""A float32 graph in float16 or bfloat16, strongly typed: what computes in which type is written into it.

    float32 in -> Cast -> 16-bit nodes -> Cast -> island, float32 -> Cast -> 16-bit nodes -> Cast -> float32 out

A value that passes from one island to the next is not rounded on its way, and a weight that is stored as float16
already is used as it is.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx_ir as ir
from pydantic import JsonValue

from limbeck.errors import ConfigError
from limbeck.quantize.element_types import (
    Half,
    HalfName,
    computes_in,
    float_values,
    half,
    label,
    refuse_subgraphs,
    takes,
)
from limbeck.quantize.graph_file import Values, Weight, add_lazy, constant, open_graph, write_graph


def write_half(
    graph: Path, out: Path, *, dtype: HalfName = "float16", islands: Collection[str] = ()
) -> dict[str, JsonValue]:
    """Write `graph` to `out` with weights and arithmetic in `dtype`; inputs and outputs stay float32.

    A node stays float32 if its name is in `islands` (a node without a name has its first output's), if its operator
    has no such type, or if it reads what a DequantizeLinear gives, so that int8 kernels are still recognized.

    Returns:
        The recipe: every setting.

    Raises:
        ConfigError: An island is no node of the graph, the graph has nested graphs, or a weight of a 16-bit node is
            beyond its range.
        PackError, OutputError: `graph` cannot be read, `out` cannot be written.
    """
    kind = half(dtype)
    model = open_graph(graph)
    refuse_subgraphs(model)
    nodes = {label(node) for node in model.graph}
    unknown = sorted(set(islands) - nodes)
    if unknown:
        raise ConfigError(
            f"{graph} has no node {', '.join(unknown)} to keep in float32; it has {len(nodes)} nodes, "
            f"such as {', '.join(sorted(nodes)[:5])}"
        )
    _Converter(model, kind, frozenset(islands)).convert()
    write_graph(model, out)
    return {"dtype": dtype, "islands": [*sorted(islands)]}


class _Converter:
    """Changes a model node by node; knows the type that each value has by now."""

    def __init__(self, model: ir.Model, kind: Half, islands: Collection[str]) -> None:
        self._model = model
        self._kind = kind
        self._floats = float_values(model)
        self._narrow = [node for node in model.graph if label(node) not in islands and self._can(node)]
        self._is_half: set[ir.Value] = set()
        self._converted: dict[ir.Value, ir.Value] = {}

    def convert(self) -> None:
        narrow = set(self._narrow)
        outputs = [value for node in self._narrow for value in node.outputs if value in self._floats]
        self._is_half.update(outputs)
        for node in list(self._model.graph):
            for index, value in enumerate(node.inputs):
                if value is None or value not in self._floats:
                    continue
                wanted = node in narrow and takes(self._model, node, index, self._kind)
                if wanted != (value in self._is_half):
                    node.replace_input_with(index, self._other(value))
        for value in outputs:
            if value.type is not None:
                value.dtype = self._kind.dtype
        for index, value in enumerate(self._model.graph.outputs):
            if value in self._is_half:
                self._model.graph.outputs[index] = self._widened_output(value)

    def _can(self, node: ir.Node) -> bool:
        dequantized = any(
            value is not None and (maker := value.producer()) is not None and maker.op_type == "DequantizeLinear"
            for value in node.inputs
        )
        return not dequantized and computes_in(self._model, node, self._kind, self._floats)

    def _other(self, value: ir.Value) -> ir.Value:
        """`value` in the other of the two types; made once."""
        if value not in self._converted:
            weight = constant(value)
            self._converted[value] = self._cast(value) if weight is None else self._rounded(value, weight)
        return self._converted[value]

    def _rounded(self, value: ir.Value, weight: Weight) -> ir.Value:
        maker = value.producer()
        if maker is not None and maker.op_type == "Cast":
            stored = maker.inputs[0]
            known = constant(stored)
            if stored is not None and known is not None and known.dtype == self._kind.dtype:
                return stored
        return add_lazy(
            self._model.graph,
            f"{weight.name}.{self._kind.name}",
            self._kind.dtype,
            weight.shape,
            lambda: self._round(weight),
        )

    def _round(self, weight: Weight) -> Values:
        values = weight.read()
        beyond = np.isfinite(values) & (np.abs(values) > self._kind.largest)
        if beyond.any():
            raise ConfigError(
                f"weight '{weight.name}' reaches {np.abs(values[beyond]).max():.3g}, {self._kind.name} ends at "
                f"{self._kind.largest:.3g}; keep the nodes that use it in float32: find_islands names them"
            )
        return values.astype(self._kind.dtype.numpy())

    def _cast(self, value: ir.Value) -> ir.Value:
        to = ir.DataType.FLOAT if value in self._is_half else self._kind.dtype
        cast = ir.node("Cast", [value], {"to": to}, name=f"{value.name}.to_{to.name.lower()}")
        cast.outputs[0].name = cast.name
        graph, maker = self._model.graph, value.producer()
        if maker is None:
            graph.insert_before(graph[0], cast)
        else:
            graph.insert_after(maker, cast)
        return cast.outputs[0]

    def _widened_output(self, value: ir.Value) -> ir.Value:
        """The graph's output, under its name, with its shape; `value` gets another name."""
        wide = self._other(value)
        wide.name, value.name = value.name, f"{value.name}.{self._kind.name}"
        wide.type, wide.shape = ir.TensorType(ir.DataType.FLOAT), value.shape
        return wide
