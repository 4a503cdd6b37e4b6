"""A torch network to an ONNX file: trace, clean, shrink, write.

    trace    torch.export with symbolic sizes, attention as one node
    clean    no stack traces, no machine paths, no stale shapes of intermediate values
    shrink   float16 storage where it loses nothing
    write    one file, or a file with its weights beside it

Each step changes the graph in memory; only the last touches the disk.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import nn

from limbeck.backends.base import GraphSpec, TensorSpec
from limbeck.errors import ExportError
from limbeck.export.attention import attention_as_one_node
from limbeck.export.options import ExportOptions
from limbeck.export.weights import LARGE
from limbeck.pack import GraphEntry, TensorEntry

OPSET = 23
"""The first that TensorRT 11, ONNX Runtime 1.23 and OpenVINO all read, with LayerNormalization and Gelu whole."""

_FILE = "model.onnx"


@dataclass(frozen=True, kw_only=True)
class Tracing:
    """A network and how to trace it.

    Args:
        network: Takes the inputs in order, returns a tensor, or a tuple in the order of the outputs.
        spec: Names and shapes of the graph.
        sizes: A size for each symbolic dimension of the inputs; none of them 0 or 1, which torch would fix.
        multiples: What a dimension must be divisible by, where it must.
    """

    network: nn.Module
    spec: GraphSpec
    sizes: Mapping[str, int]
    multiples: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class WrittenGraph:
    """A graph on disk, not yet known to be right; `entry` is for one that is."""

    file: str
    external: tuple[str, ...]
    spec: GraphSpec
    weights: Literal["float32", "float16", "int8"]

    def entry(self, parity: float) -> GraphEntry:
        """What the manifest says of it."""
        return GraphEntry(
            file=self.file,
            external=self.external,
            inputs=tuple(_entry(tensor) for tensor in self.spec.inputs),
            outputs=tuple(_entry(tensor) for tensor in self.spec.outputs),
            weights=self.weights,
            opset=OPSET,
            parity=parity,
        )


def write_graph(tracing: Tracing, pack: Path, folder: str, options: ExportOptions) -> WrittenGraph:
    """Write the graph of a network to `pack / folder / model.onnx`.

    Raises:
        ExportError: torch cannot trace the network, or a size that should be free was fixed by it.
    """
    model = _trace(tracing)
    _clean(model, tracing.spec)
    if options.weights == "float16":
        _store_as_half(model)
    return save_graph(model, tracing.spec, pack, folder, options)


def save_graph(model: ir.Model, spec: GraphSpec, pack: Path, folder: str, options: ExportOptions) -> WrittenGraph:
    """Write a graph to `pack / folder / model.onnx`, large weights to a second file; `folder` is made."""
    path = pack / folder / _FILE
    path.parent.mkdir()
    nbytes = sum(_constant(value).nbytes for value in model.graph.initializers.values())
    if nbytes <= options.external_above_nbytes:
        ir.save(ir.external_data.load_to_model(model), path)
        external: tuple[str, ...] = ()
    else:
        ir.save(model, path, external_data=f"{_FILE}.data")
        external = (f"{folder}/{_FILE}.data",)
    return WrittenGraph(file=f"{folder}/{_FILE}", external=external, spec=spec, weights=options.weights)


def _trace(tracing: Tracing) -> ir.Model:
    spec = tracing.spec
    examples = tuple(_example(tensor, tracing.sizes) for tensor in spec.inputs)
    symbols = {name: _symbol(name, tracing.multiples.get(name, 1)) for name in tracing.sizes}
    shapes = tuple(
        {axis: symbols[size] for axis, size in enumerate(tensor.shape) if isinstance(size, str)}
        for tensor in spec.inputs
    )
    try:
        with torch.no_grad(), attention_as_one_node(), _quiet():
            program = torch.export.export(tracing.network.eval(), examples, dynamic_shapes=shapes)
            exported = torch.onnx.export(
                program,
                input_names=[tensor.name for tensor in spec.inputs],
                output_names=[tensor.name for tensor in spec.outputs],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except ExportError:
        raise
    except Exception as error:  # torch raises a dozen kinds here, none of them documented
        raise ExportError(f"torch cannot trace {type(tracing.network).__name__} to a graph: {error}") from error
    assert exported is not None, "torch.onnx.export returns None only when it writes the file itself"
    return exported.model


def _symbol(name: str, multiple: int) -> torch.export.Dim:
    # Diffusers copies tensors of 64 samples and more to contiguous memory, which changes no value. torch must be
    # told which of the two it traces; the graph itself has no such limit.
    count = torch.export.Dim(f"{name}_count", max=63)
    return multiple * count if multiple > 1 else count


def _example(tensor: TensorSpec, sizes: Mapping[str, int]) -> torch.Tensor:
    shape = [sizes[size] if isinstance(size, str) else size for size in tensor.shape]
    return torch.zeros(shape, dtype=getattr(torch, tensor.dtype))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what torch's exporter says of itself: its deprecations, and that torchvision is not there."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _clean(model: ir.Model, spec: GraphSpec) -> None:
    """Leave names, operators and weights; give inputs and outputs the sizes by the spec's names.

    torch writes the source line of every node, with this machine's paths. The shapes of intermediate values are
    in symbols that nothing else uses, and a tool that changes the graph would have to keep them true.
    """
    ClearMetadataAndDocStringPass()(model)
    graph = model.graph
    ends = {*graph.inputs, *graph.outputs}
    for node in graph.all_nodes():
        for value in node.outputs:
            value.metadata_props.clear()
            if value not in ends:
                value.shape = value.type = None
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()
    for value in graph.initializers.values():
        value.shape = value.type = None
    for values, tensors in ((graph.inputs, spec.inputs), (graph.outputs, spec.outputs)):
        for value, tensor in zip(values, tensors, strict=True):
            _check_shape(value, tensor)
            value.shape = ir.Shape(tensor.shape)


def _check_shape(value: ir.Value, tensor: TensorSpec) -> None:
    """Refuse a size that torch found to be another, or fixed where the spec has it free."""
    traced = tuple(value.shape or ())
    agree = len(traced) == len(tensor.shape) and all(
        not isinstance(size, int) or size == said for size, said in zip(traced, tensor.shape, strict=True)
    )
    if not agree:
        raise ExportError(f"the graph was to have {tensor}, but torch traced the shape {traced}")


def _store_as_half(model: ir.Model) -> None:
    """Store large float32 weights as float16 with a Cast, where the cast gives back the very same values.

    `round_to_half` made that so for a network's weights. What the exporter computed of them (a folded norm, a
    table of positions) stays as it is, so that the graph is exactly the network that it is compared with.
    """
    graph = model.graph
    for name, value in list(graph.initializers.items()):
        weights = _constant(value).numpy()
        if weights.dtype != np.float32 or weights.size < LARGE:
            continue
        with np.errstate(over="ignore"):
            half = weights.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), weights):
            continue
        stored = ir.Value(name=f"{name}.float16", const_value=ir.Tensor(half))
        cast = ir.Node("", "Cast", [stored], [ir.AttrInt64("to", ir.DataType.FLOAT)])
        value.replace_all_uses_with(cast.outputs[0])
        del graph.initializers[name]
        graph.register_initializer(stored)
        graph.insert_before(graph[0], cast)


def _constant(initializer: ir.Value) -> ir.TensorProtocol:
    assert initializer.const_value is not None, "an initializer has a value"
    return initializer.const_value


def _entry(tensor: TensorSpec) -> TensorEntry:
    return TensorEntry(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape)
