"""Looking into a graph while it runs: more nodes, more outputs, in ONNX Runtime with nothing optimized away.

What is asked of a value (its largest magnitude, what rounding it would cost) is itself computed by nodes, so that a
few scalars come out and not the values: a graph of any size is looked through in one run, in little more memory than
it takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import onnx_ir as ir

from limbeck.arrays import Array
from limbeck.errors import EngineError


class Probes:
    """Adds nodes to a graph and collects the values to be read.

    Args:
        model: Changed by it; nodes of its own are only added.
    """

    def __init__(self, model: ir.Model) -> None:
        """Start with no output of its own."""
        self.model = model
        self._nodes: list[ir.Node] = []
        self._wanted: dict[str, ir.Value] = {}

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: int | float | str | Sequence[int]) -> ir.Value:
        """The first result of a new node of the standard operators."""
        return self.add(ir.node(op_type, inputs, attributes))[0]

    def add(self, node: ir.Node) -> Sequence[ir.Value]:
        """The results of a new node."""
        for value in node.outputs:
            value.name = f"probe.{len(self._nodes)}.{value.index()}"
        self._nodes.append(node)
        return node.outputs

    def constant(self, array: Array) -> ir.Value:
        """A new small constant."""
        return self.add(ir.node("Constant", [], {"value": ir.Tensor(array)}))[0]

    def read(self, name: str, value: ir.Value) -> None:
        """Give `value` out as `name`."""
        self._wanted[name] = value

    def largest(self, value: ir.Value) -> ir.Value:
        """The largest magnitude, a scalar."""
        return self.op("ReduceMax", self.op("Abs", value), keepdims=0)

    def squares(self, value: ir.Value) -> ir.Value:
        """The sum of squares, a scalar."""
        return self.op("ReduceSumSquare", value, keepdims=0)

    def rounded(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """`value` as `dtype` would hold it, in float32."""
        return self.op("Cast", self.op("Cast", value, to=dtype), to=ir.DataType.FLOAT)

    def finish(self) -> tuple[ir.Model, Mapping[str, str]]:
        """The model with the nodes behind its own and only the wanted outputs; and their names in it."""
        graph = self.model.graph
        graph.extend(self._nodes)
        graph.outputs.clear()
        names: dict[str, str] = {}
        for name, value in self._wanted.items():
            out = ir.node("Identity", [value])
            out.outputs[0].name = f"wanted.{len(names)}"
            graph.append(out)
            graph.outputs.append(out.outputs[0])
            names[name] = f"wanted.{len(names)}"
        return self.model, names


class Instrumented:
    """A graph in ONNX Runtime on the CPU, unoptimized: values are rounded where the graph says and nowhere else.

    Args:
        model: Its external weights are read from where they lie.
        folder: Of the file that the model was opened from.
    """

    def __init__(self, model: ir.Model, folder: Path) -> None:
        """Load it. Raises `EngineError` if the runtime refuses it."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # weights stay where they are mapped: most graphs are looked through once or twice
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
        try:
            self._session = ort.InferenceSession(_bytes(model, folder), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own classes
            raise EngineError(f"ONNX Runtime {ort.__version__} cannot load the graph in {folder}: {error}") from error

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Every output by its name."""
        inputs = {value.name for value in self._session.get_inputs()}
        try:
            results = self._session.run(None, {name: feeds[name] for name in inputs})
        except Exception as error:  # as above
            raise EngineError(f"ONNX Runtime failed: {error}") from error
        names = [value.name for value in self._session.get_outputs()]
        return {name: np.asarray(result) for name, result in zip(names, results, strict=True)}

    def close(self) -> None:
        """Give back the memory."""
        del self._session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _bytes(model: ir.Model, folder: Path) -> bytes:
    """The file of `model` without its external weights; their place is told relative to `folder`, as it must be."""
    proto = ir.to_proto(model)
    for weight in proto.graph.initializer:
        for entry in weight.external_data:
            if entry.key == "location" and Path(entry.value).is_absolute():
                entry.value = Path(entry.value).relative_to(folder.absolute()).as_posix()
    content: bytes = proto.SerializeToString()
    return content
