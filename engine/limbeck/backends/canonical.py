"""A digest of what a graph computes, that does not depend on what its parts are called.

Every value is identified by how it is made: an input by its name, a weight by its content, a node's output by the
operator, the attributes and the identities of the node's inputs. So nodes and values may be renamed, nodes may stand in
another order that is just as good, weights may lie in the file or beside it: the digest stays. Change a weight, an
attribute, a wire or a fixed size: it does not.

Names of inputs and outputs are part of it, because feeds go by them; so are the names of symbolic sizes, because equal
names are equal sizes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.backends.key import digest_of
from limbeck.errors import BackendUnavailableError, EngineError

if TYPE_CHECKING:
    import onnx

_MISSING = "none"
"""An optional input that is left out."""


def canonical_digest(path: Path) -> str:
    """The digest of an ONNX file, 64 hexadecimal digits; weights are read one at a time.

    Raises:
        BackendUnavailableError: The onnx package is not installed; digests are made where graphs are made.
        EngineError: The file cannot be read as a graph.
    """
    try:
        import onnx
    except ImportError as error:
        raise BackendUnavailableError(
            "the canonical digest of a graph needs the 'onnx' package: pip install 'limbeck[export]'"
        ) from error
    try:
        model = onnx.load(path, load_external_data=False)
        return _model(model, path.parent)
    except Exception as error:  # onnx, protobuf and the file system raise unrelated classes
        raise EngineError(f"onnx {onnx.__version__} cannot read {path}: {error!r}") from error


def _model(model: onnx.ModelProto, folder: Path) -> str:
    return digest_of(
        opsets=sorted((item.domain, item.version) for item in model.opset_import),
        functions=sorted(_serialized(function) for function in model.functions),
        graph=_graph(model.graph, folder, {}, depth=0),
    )


def _graph(graph: onnx.GraphProto, folder: Path, outer: Mapping[str, str], *, depth: int) -> str:
    """Of a graph at a depth; below 0 it is an attribute, may use values around it, and goes by places, not names."""
    known = dict(outer)
    inputs = [[depth, place, *_value(value)[depth > 0 :]] for place, value in enumerate(graph.input)]
    known.update({value.name: digest_of(input=identity) for value, identity in zip(graph.input, inputs, strict=True)})
    known.update({tensor.name: _tensor(tensor, folder) for tensor in graph.initializer})
    known.update({tensor.values.name: _serialized(tensor) for tensor in graph.sparse_initializer})
    nodes = []
    for node in graph.node:
        identity = _node(node, folder, known, depth)
        known.update({name: digest_of(node=identity, output=place) for place, name in enumerate(node.output)})
        nodes.append(identity)
    return digest_of(
        inputs=inputs,
        outputs=[(_value(value)[depth > 0 :], known[value.name]) for value in graph.output],
        nodes=sorted(nodes),
    )


def _node(node: onnx.NodeProto, folder: Path, known: Mapping[str, str], depth: int) -> str:
    return digest_of(
        operator=(node.domain if node.domain != "ai.onnx" else "", node.op_type, node.overload),
        inputs=[known[name] if name else _MISSING for name in node.input],
        num_outputs=len(node.output),
        attributes=sorted((item.name, item.type, _attribute(item, folder, known, depth)) for item in node.attribute),
    )


def _attribute(item: onnx.AttributeProto, folder: Path, known: Mapping[str, str], depth: int) -> Any:
    import onnx

    kinds = onnx.AttributeProto
    if item.type == kinds.TENSOR:
        return _tensor(item.t, folder)
    if item.type == kinds.GRAPH:
        return _graph(item.g, folder, known, depth=depth + 1)
    if item.type == kinds.GRAPHS:
        return [_graph(graph, folder, known, depth=depth + 1) for graph in item.graphs]
    value = onnx.helper.get_attribute_value(item)
    if isinstance(value, int | float | bytes):
        return repr(value)
    return [repr(part) for part in value] if _plain(value) else _serialized(item)


def _plain(value: Any) -> bool:
    return isinstance(value, Iterable) and all(isinstance(part, int | float | bytes) for part in value)


def _value(value: onnx.ValueInfoProto) -> list[Any]:
    """Name, dtype and shape; a size that has no name is free."""
    kind = value.type.tensor_type
    shape = [size.dim_value if size.HasField("dim_value") else size.dim_param for size in kind.shape.dim]
    return [value.name, kind.elem_type, shape if kind.HasField("shape") else None]


def _tensor(tensor: onnx.TensorProto, folder: Path) -> str:
    """By dtype, shape and content, however that is stored."""
    import onnx

    own = onnx.TensorProto()
    own.CopyFrom(tensor)  # to_array keeps in it what it reads from beside the file, and the graph would hold it all
    array = onnx.numpy_helper.to_array(own, base_dir=str(folder))
    content = hashlib.sha256(array.tobytes()).hexdigest()
    return digest_of(dtype=tensor.data_type, shape=list(tensor.dims), content=content)


def _serialized(message: Any) -> str:
    return hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()
