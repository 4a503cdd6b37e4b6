"""A graph that another exporter wrote, with the names, types and sizes that a pack has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass, TopologicalSortPass

from limbeck.arrays import Array
from limbeck.backends.base import Graph, GraphSpec, TensorSpec
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.errors import ExportError
from limbeck.export.graph import save_graph
from limbeck.export.options import ExportOptions
from limbeck.export.parity import BATCHES, Computation, Feeds, check_parity, opened, random_feeds
from limbeck.pack import GraphEntry
from limbeck.precision import PRECISIONS

INTEGERS_BELOW = 500
"""Token ids and times to compare at are drawn below this."""

_SIDE = 16
"""Free heights and widths to compare at; divisible by what codecs divide them by."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """What becomes of the inputs and outputs of a graph; it keeps no other output.

    Args:
        folder: Where `model.onnx` lies, in the source and in the pack.
        inputs: What the pack has, by the name in the source. One of no dimensions may come with one.
        outputs: The same; two share the channels of an output in equal parts.
    """

    folder: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, tuple[TensorSpec, ...]]


def import_graph(port: Port, source: Path, pack: Path, options: ExportOptions) -> GraphEntry:
    """Write the graph of `source / port.folder` into the pack, and compare it with what it was.

    Raises:
        ExportError: It cannot be read, or has other inputs or outputs.
        ParityError: It computes something else than before.
    """
    path = source / port.folder / "model.onnx"
    try:
        model = ir.load(path)
    except Exception as error:  # protobuf's own errors, which it does not name
        raise ExportError(f"cannot read {path} as a graph: {error}") from error
    before = GraphSpec(_found(model.graph.inputs), _found(model.graph.outputs))
    _check(port, before, path)
    spec = _rewrite(model, port)
    ends = (*before.inputs, *before.outputs)
    precision = PRECISIONS["fp16" if any(tensor.dtype == "float16" for tensor in ends) else "fp32"]
    written = save_graph(model, spec, pack, port.folder, options)
    sizes = {size: _SIDE for tensor in spec.inputs for size in tensor.shape if isinstance(size, str)}
    integers = {tensor.name: INTEGERS_BELOW for tensor in spec.inputs if tensor.dtype == "int64"}
    cases = [random_feeds(spec.inputs, {**sizes, "batch": batch}, **integers) for batch in BATCHES]
    with opened(written, pack) as graph, closing(OnnxRuntime().compile(Graph(path, before, digest=""))) as original:
        parity = check_parity(port.folder, graph, _as_before(port, before, original.infer), cases, precision)
    return written.entry(parity).model_copy(
        update={
            "opset": model.opset_imports[""],
            "precision": precision.name,
            "weights": "float16" if precision.name == "fp16" else "float32",
        }
    )


def _rewrite(model: ir.Model, port: Port) -> GraphSpec:
    """Change the ends of the graph, and drop what only other outputs need."""
    ClearMetadataAndDocStringPass()(model)
    graph = model.graph
    outputs = tuple(chain.from_iterable(port.outputs.values()))
    ends = {value.name: value for value in (*graph.inputs, *graph.outputs)}
    _free_names(graph, {tensor.name for tensor in (*port.inputs.values(), *outputs)})
    graph.inputs.clear()
    graph.outputs.clear()
    inputs = tuple(_import_input(graph, ends[name], tensor) for name, tensor in port.inputs.items())
    for name, tensors in port.outputs.items():
        _import_output(graph, ends[name], tensors)
    TopologicalSortPass()(model)
    RemoveUnusedNodesPass()(model)
    return GraphSpec(inputs, outputs)


def _found(values: Sequence[ir.Value]) -> tuple[TensorSpec, ...]:
    specs = []
    for value in values:
        assert value.name is not None, "ends of a graph have names"
        assert value.dtype is not None, "ends of a graph have types"
        specs.append(TensorSpec(value.name, np.dtype(value.dtype.numpy()).name, _sizes(value)))
    return tuple(specs)


def _check(port: Port, found: GraphSpec, path: Path) -> None:
    """Refuse a graph that lacks an output, has another input, or fixes a size that must be free or another."""
    inputs, outputs = ({tensor.name: tensor for tensor in side} for side in (found.inputs, found.outputs))
    if inputs.keys() != port.inputs.keys() or not port.outputs.keys() <= outputs.keys():
        raise ExportError(
            f"{path} has the inputs {', '.join(inputs)} and the outputs {', '.join(outputs)}; limbeck imports graphs "
            f"of optimum-onnx with {', '.join(port.inputs)} to {', '.join(port.outputs)}"
        )
    for name, tensor in port.inputs.items():
        sizes = inputs[name].shape
        scalar = not tensor.shape and len(sizes) <= 1
        if not scalar and not (len(sizes) == len(tensor.shape) and all(map(_size_fits, sizes, tensor.shape))):
            raise ExportError(
                f"{path} takes {inputs[name]}, which cannot be fed {tensor}; export it with free sizes (dynamic axes)"
            )


def _size_fits(found: int | str, wanted: int | str) -> bool:
    return isinstance(found, str) or (found == wanted if isinstance(wanted, int) else wanted != "batch")


def _free_names(graph: ir.Graph, names: set[str]) -> None:
    """Give values inside the graph that happen to have one of these names another one."""
    made = chain.from_iterable(node.outputs for node in graph.all_nodes())
    for value in (*graph.inputs, *made, *graph.initializers.values()):
        if value.name in names:
            value.name = f"{value.name}.before"


def _import_input(graph: ir.Graph, old: ir.Value, tensor: TensorSpec) -> TensorSpec:
    """Feed what used `old` from a new input; returns its spec, with the sizes that are fixed."""
    sizes = _sizes(old)
    free = zip(sizes, tensor.shape, strict=True) if tensor.shape else ()
    spec = TensorSpec(tensor.name, tensor.dtype, tuple(was if isinstance(was, int) else size for was, size in free))
    new = _value(spec)
    graph.inputs.append(new)
    given = _cast(graph, new, old.dtype)
    if len(sizes) > len(spec.shape):
        one = ir.Value(name=f"{tensor.name}.one", const_value=ir.Tensor(np.array([1], np.int64)))
        graph.register_initializer(one)
        given = _node(graph, "Reshape", [given, one])
    old.replace_all_uses_with(given)
    return spec


def _import_output(graph: ir.Graph, old: ir.Value, tensors: tuple[TensorSpec, ...]) -> None:
    """Add the outputs that `old`, cast and cut along its channels, becomes."""
    made = _cast(graph, old, ir.DataType.FLOAT)
    parts = [made]
    if len(tensors) > 1:
        sizes = np.array([tensor.shape[1] for tensor in tensors], np.int64)
        split = ir.Value(name=f"{tensors[0].name}.split", const_value=ir.Tensor(sizes))
        graph.register_initializer(split)
        node = ir.Node("", "Split", [made, split], [ir.AttrInt64("axis", 1)], num_outputs=len(tensors))
        graph.append(node)
        parts = list(node.outputs)
    for part, tensor in zip(parts, tensors, strict=True):
        output = _value(tensor)
        part.name, part.type, part.shape = output.name, output.type, output.shape
        graph.outputs.append(part)


def _cast(graph: ir.Graph, value: ir.Value, kind: ir.DataType | None) -> ir.Value:
    if value.dtype == kind:
        return value
    assert kind is not None, "checked before"
    return _node(graph, "Cast", [value], [ir.AttrInt64("to", kind)])


def _node(graph: ir.Graph, operator: str, inputs: list[ir.Value], attributes: Sequence[ir.Attr] = ()) -> ir.Value:
    node = ir.Node("", operator, inputs, attributes)
    graph.append(node)
    return node.outputs[0]


def _sizes(value: ir.Value) -> tuple[int | str, ...]:
    return tuple(size if isinstance(size, int) else str(size.value) for size in value.shape or ())


def _value(spec: TensorSpec) -> ir.Value:
    kind = ir.DataType.from_numpy(np.dtype(spec.dtype))
    return ir.Value(name=spec.name, type=ir.TensorType(kind), shape=ir.Shape(spec.shape))


def _as_before(port: Port, before: GraphSpec, graph: Computation) -> Computation:
    """The source's graph, fed and read by the pack's names."""
    specs = {tensor.name: tensor for tensor in before.inputs}

    def run(feeds: Feeds) -> Feeds:
        given = {}
        for name, tensor in port.inputs.items():
            array = feeds[tensor.name].astype(specs[name].dtype)
            given[name] = array.reshape(1) if len(specs[name].shape) > array.ndim else array
        made = graph(given)
        results: dict[str, Array] = {}
        for name, tensors in port.outputs.items():
            parts = np.split(made[name].astype(np.float32), len(tensors), axis=1)
            results |= {tensor.name: part for tensor, part in zip(tensors, parts, strict=True)}
        return results

    return run
