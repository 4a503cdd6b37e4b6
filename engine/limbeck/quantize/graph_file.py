"""An ONNX graph whose weights stay on disk while it is changed.

    open_graph    nodes and names in memory, weights in their file
    change        `constant`, `add_weight`, `add_lazy`, `add_node`, `replace`
    write_graph   one weight at a time: read, computed, written, forgotten

So a graph of any size is rewritten in the memory of its largest weight, and the file appears whole or not at all.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import NameFixPass, RemoveUnusedNodesPass

from limbeck.errors import OutputError, PackError

Values: TypeAlias = NDArray[Any]

_EXTERNAL_ABOVE_NBYTES = 2**20
_OPSETS: Mapping[str, int] = {"com.microsoft": 1}
"""Versions of the operator sets beside the standard one, whose version the graph keeps."""


@dataclass(frozen=True)
class Weight:
    """A constant of a graph, not read yet.

    Args:
        name: Of the initializer that holds it.
        shape: As the graph uses it.
        dtype: As the graph uses it, after the Cast of a weight that is stored as float16.
        stored: Where the values are.
    """

    name: str
    shape: tuple[int, ...]
    dtype: ir.DataType
    stored: ir.TensorProtocol

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def read(self) -> Values:
        """The values, in memory of their own; the file is not kept mapped.

        Raises:
            PackError: The file that holds them is missing or too short.
        """
        try:
            values = np.array(self.stored.numpy(), dtype=self.dtype.numpy())
        except (OSError, ValueError) as error:
            raise PackError(f"the weight '{self.name}' cannot be read from disk: {error}") from error
        if isinstance(self.stored, ir.ExternalTensor):
            self.stored.release()
        return values


def open_graph(path: Path) -> ir.Model:
    """The graph of an ONNX file, its external weights left on disk.

    Raises:
        PackError: It is missing, no ONNX file, or says that its weights are in another folder.
    """
    try:
        model = ir.load(path)
    except Exception as error:  # protobuf, onnx and onnx_ir each raise classes of their own
        raise PackError(f"the graph {path} cannot be read: {error}") from error
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = _beside(path, value.const_value)
    return model


def write_graph(model: ir.Model, out: Path) -> None:
    """Write `model` to `out`, and its weights to `<out>.data` beside it if they are above 1 MiB together.

    Nodes and weights that nothing uses any more are left out; where a name stands twice, one gets a number. Both
    files are written under other names and renamed at the end; where that fails, what was there before is untouched.

    Raises:
        OutputError: The folder cannot be written.
        PackError: The file that holds the weights is missing or too short.
    """
    RemoveUnusedNodesPass()(model)
    NameFixPass()(model)
    used = {node.domain for node in model.graph.all_nodes()}
    model.opset_imports.update({domain: version for domain, version in _OPSETS.items() if domain in used})
    nbytes = sum(_stored(value).nbytes for value in model.graph.initializers.values())
    data = f"{out.name}.data" if nbytes > _EXTERNAL_ABOVE_NBYTES else None
    with _appearing_whole(out) as folder:
        if data is None:
            _load_all(model)
        try:
            ir.save(model, folder / out.name, external_data=data)
        except (FileNotFoundError, ValueError) as error:
            raise PackError(f"a weight of the graph cannot be read from disk: {error}") from error


def constant(value: ir.Value | None) -> Weight | None:
    """The weight behind `value`: an initializer, a Constant node, or the Cast of one of these; else None."""
    if value is None:
        return None
    node = value.producer()
    if node is None or node.op_type == "Constant":
        stored = ir.convenience.get_const_tensor(value)
        return None if stored is None else _weight(value, stored, stored.dtype)
    if node.op_type == "Cast":
        weight = constant(node.inputs[0])
        if weight is not None:
            return Weight(weight.name, weight.shape, ir.DataType(node.attributes["to"].as_int()), weight.stored)
    return None


def add_weight(graph: ir.Graph, name: str, array: Values) -> ir.Value:
    """A new initializer that is held in memory; for small ones. A name that is taken gets a number."""
    return _register(graph, name, ir.Tensor(array))


def add_lazy(
    graph: ir.Graph, name: str, dtype: ir.DataType, shape: Sequence[int], compute: Callable[[], Values]
) -> ir.Value:
    """A new initializer whose values `compute` gives while the file is written, and each time they are read.

    `compute` must return `dtype` and `shape`; it reads its sources with `Weight.read`.
    """

    def checked() -> ir.TensorProtocol:
        values = compute()
        assert values.shape == tuple(shape), f"{name} was to have the shape {tuple(shape)}, computed {values.shape}"
        return ir.Tensor(values, dtype=dtype)

    return _register(graph, name, ir.LazyTensor(checked, dtype=dtype, shape=ir.Shape(shape)))


def add_node(
    before: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    *,
    name: str,
    domain: str = "",
    outputs: int = 1,
    **attributes: int | float | str | Sequence[int] | Sequence[float],
) -> ir.Node:
    """A new node just before another of the same graph; its results are in `.outputs`."""
    node = ir.node(op_type, inputs, attributes, domain=domain, num_outputs=outputs, name=name)
    for index, output in enumerate(node.outputs):
        output.name = f"{name}.{index}" if outputs > 1 else name
    graph = before.graph
    assert graph is not None, "the node is part of a graph"
    graph.insert_before(before, node)
    return node


def replace(old: ir.Node, new: ir.Value) -> None:
    """Let everything that used the one output of `old` use `new`, under the old name, and remove `old`."""
    graph, value = old.graph, old.outputs[0]
    assert graph is not None, "the node is part of a graph"
    new.name, new.type, new.shape = value.name, value.type, value.shape
    value.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(old, safe=True)


def _beside(path: Path, tensor: ir.ExternalTensor) -> ir.ExternalTensor:
    """The same tensor, which may also be a link: model hubs link files into a folder, packs may share one file.

    onnx_ir refuses links of either kind below a base folder, and checks nothing where there is none.
    """
    location = Path(tensor.location)
    if location.is_absolute() or ".." in location.parts:
        raise PackError(f"the graph {path} says that its weights are at '{location}'; they must lie beside it")
    return ir.ExternalTensor(
        path.absolute().parent / location,
        tensor.offset,
        tensor.length,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=tensor.name,
    )


def _weight(value: ir.Value, stored: ir.TensorProtocol, dtype: ir.DataType) -> Weight:
    return Weight(value.name or "", tuple(stored.shape.numpy()), dtype, stored)


def _register(graph: ir.Graph, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    taken, number = name, 1
    while name in graph.initializers:
        name, number = f"{taken}.{number}", number + 1
    value = ir.Value(
        name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy())
    )
    graph.register_initializer(value)
    return value


def _stored(initializer: ir.Value) -> ir.TensorProtocol:
    assert initializer.const_value is not None, "an initializer has a value"
    return initializer.const_value


def _load_all(model: ir.Model) -> None:
    """Take the few small weights into the file itself, wherever they were."""
    for value in model.graph.initializers.values():
        value.const_value = ir.Tensor(np.array(_stored(value).numpy()), dtype=_stored(value).dtype)


@contextmanager
def _appearing_whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` whose files move next to `out` at the end of the block; it is gone in any case."""
    folder = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        folder.mkdir(parents=True)
        yield folder
        for path in sorted(folder.iterdir(), reverse=True):  # the weights first, then the graph that names them
            path.replace(out.parent / path.name)
    except OSError as error:
        raise OutputError(f"cannot write the graph '{out}': {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
