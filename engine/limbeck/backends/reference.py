"""The reference: an ONNX graph interpreted in torch, one operator after another, slow and obvious.

It is what other backends are compared with. Nothing is fused, reordered or approximated; a value is freed after
its last use and that is all the cleverness there is. An operator, an attribute or a combination that `torch_ops`
does not know is refused, never guessed.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from limbeck.arrays import Array
from limbeck.backends.base import Backend, Graph, GraphSpec, Session, TensorSpec
from limbeck.backends.spec import check_spec
from limbeck.errors import BackendUnavailableError, ConfigError, EngineError

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

OPSETS = range(18, 24)
"""The versions of standard ONNX whose operators `torch_ops` computes; their meaning is the same in all of them."""


class Reference(Backend):
    """ONNX in eager torch, on the CPU.

    Args:
        dtype: None computes in the graph's own dtypes. "float64" makes every float of the graph a float64, casts to
            float16 and float32 included: the truth that rounding errors are measured against. Inputs and outputs
            keep the dtypes of the graph's spec.
    """

    name = "reference"

    def __init__(self, *, dtype: Literal["float64"] | None = None) -> None:
        """Keep the setting; torch is loaded by `compile`."""
        if dtype not in (None, "float64"):
            raise ConfigError(
                f"the reference backend computes in dtype None (the graph's own) or 'float64', got {dtype!r}"
            )
        self.dtype = dtype

    def compile(self, graph: Graph) -> Session:
        """Read the file, check it, and find a torch function for each of its nodes.

        Raises:
            BackendUnavailableError: torch or onnx is not installed.
            EngineError: The file is not a graph that this backend can compute, with the reason.
        """
        try:
            import onnx
            import torch  # noqa: F401 - all that follows needs it
        except ImportError as error:
            raise BackendUnavailableError(
                f"the reference backend needs the '{error.name}' package: pip install 'limbeck[reference]'"
            ) from error
        try:
            onnx.checker.check_model(str(graph.path))
            model = onnx.load(graph.path)
        except Exception as error:  # onnx, protobuf and the file system raise unrelated classes
            raise EngineError(f"onnx {onnx.__version__} cannot read {graph.path}: {error}") from error
        _check_known(graph.path, model)
        check_spec(graph, _spec(graph.path, model.graph))
        return _ReferenceSession(graph, model.graph, wide=self.dtype == "float64")

    def fingerprint(self) -> str:
        """Version of torch, and the dtype."""
        return f"torch {importlib.metadata.version('torch')} dtype={self.dtype}"


@dataclass(frozen=True)
class _Step:
    """One node: what to call, on which values, and which values nothing needs afterwards."""

    label: str
    function: Callable[..., Any]
    attributes: Mapping[str, Any]
    inputs: Sequence[str]
    outputs: Sequence[str]
    dead: Sequence[str]


class _ReferenceSession(Session):
    def __init__(self, graph: Graph, proto: onnx.GraphProto, *, wide: bool) -> None:
        self._graph = graph
        self._wide = wide
        self._weights = {tensor.name: _tensor(graph.path, tensor, wide) for tensor in proto.initializer}
        self._steps = _steps(graph, proto, wide)

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        import torch

        # torch cannot take negative strides, and warns of arrays that it must not write: hence a copy
        copies = {name: np.array(array, order="C") for name, array in feeds.items()}
        values = {name: _widened(torch.from_numpy(array), self._wide) for name, array in copies.items()}
        values |= self._weights
        with torch.inference_mode():
            for step in self._steps:
                values.update(self._outputs(step, values))
                for name in step.dead:
                    del values[name]
        return {
            tensor.name: np.array(values[tensor.name].numpy(), dtype=tensor.dtype)
            for tensor in self._graph.spec.outputs
        }

    def close(self) -> None:
        self._weights.clear()
        self._steps.clear()

    def _outputs(self, step: _Step, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        inputs = [values[name] if name else None for name in step.inputs]
        try:
            result = step.function(*inputs, **step.attributes)
            results = result if isinstance(result, tuple) else (result,)
            if len(step.outputs) > len(results):
                raise NotImplementedError(f"{len(step.outputs)} outputs are asked for, {len(results)} are known")
        except Exception as error:  # whatever torch raises
            raise EngineError(f"{step.label} of {self._graph.path} failed in the reference backend: {error}") from error
        return {name: _widened(value, self._wide) for name, value in zip(step.outputs, results, strict=False) if name}


def _steps(graph: Graph, proto: onnx.GraphProto, wide: bool) -> list[_Step]:
    kept = {tensor.name for tensor in graph.spec.outputs}
    steps: list[_Step] = []
    for node in reversed(proto.node):
        label = f"{node.domain or 'ai.onnx'}::{node.op_type} '{node.name}'"
        function = _function(graph.path, node, label)
        attributes = {item.name: _attribute(graph.path, node, item, wide) for item in node.attribute}
        try:
            inspect.signature(function).bind(*node.input, **attributes)
        except TypeError as error:
            raise EngineError(
                f"{label} of {graph.path} is a form that the reference backend does not know: {error}"
            ) from error
        used = [name for name in (*node.input, *node.output) if name]
        dead = tuple(dict.fromkeys(name for name in used if name not in kept))
        kept.update(used)
        steps.append(_Step(label, function, attributes, tuple(node.input), tuple(node.output), dead))
    return steps[::-1]


def _function(path: Path, node: onnx.NodeProto, label: str) -> Callable[..., Any]:
    from limbeck.backends.torch_ops import OPERATORS

    function = OPERATORS.get((_domain(node.domain), node.op_type))
    if function is None:
        raise EngineError(
            f"the reference backend does not know {label} of {path}; it knows: "
            + ", ".join(sorted(name for _, name in OPERATORS))
        )
    return function


def _domain(name: str) -> str:
    """Standard ONNX has two names."""
    return "" if name == "ai.onnx" else name


def _attribute(path: Path, node: onnx.NodeProto, item: onnx.AttributeProto, wide: bool) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(item)
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    if wide and (node.op_type, item.name) == ("Cast", "to") and value in floats:
        return onnx.TensorProto.DOUBLE
    if isinstance(value, bytes):
        return value.decode()
    return _tensor(path, value, wide) if isinstance(value, onnx.TensorProto) else value


def _tensor(path: Path, proto: onnx.TensorProto, wide: bool) -> Tensor:
    import onnx
    import torch

    array = onnx.numpy_helper.to_array(proto)
    try:
        # a copy: protobuf's memory is read-only
        return _widened(torch.tensor(array), wide)
    except TypeError as error:
        raise EngineError(
            f"'{proto.name}' of {path} is {array.dtype}, which the reference backend cannot compute with"
        ) from error


def _widened(tensor: Tensor, wide: bool) -> Tensor:
    return tensor.double() if wide and tensor.is_floating_point() else tensor


def _check_known(path: Path, model: onnx.ModelProto) -> None:
    versions = {_domain(item.domain): item.version for item in model.opset_import}
    if versions.get("") not in OPSETS:
        raise EngineError(
            f"{path} uses opset {versions.get('')}; the reference backend computes {OPSETS[0]} to {OPSETS[-1]}"
        )
    if model.graph.sparse_initializer:
        raise EngineError(f"{path} has sparse weights; the reference backend computes with dense ones")


def _spec(path: Path, proto: onnx.GraphProto) -> GraphSpec:
    weights = {tensor.name for tensor in proto.initializer}
    return GraphSpec(
        inputs=tuple(_tensor_spec(path, value) for value in proto.input if value.name not in weights),
        outputs=tuple(_tensor_spec(path, value) for value in proto.output),
    )


def _tensor_spec(path: Path, value: onnx.ValueInfoProto) -> TensorSpec:
    import onnx

    from limbeck.backends.torch_values import DTYPES

    kind = value.type.tensor_type
    if not kind.HasField("shape") or kind.elem_type not in DTYPES:
        raise EngineError(
            f"'{value.name}' of {path} is no dense tensor of known rank and of a dtype that the reference backend "
            f"knows ({', '.join(str(dtype).removeprefix('torch.') for dtype in DTYPES.values())})"
        )
    return TensorSpec(
        value.name,
        onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
        tuple(size.dim_value if size.HasField("dim_value") else size.dim_param or "?" for size in kind.shape.dim),
    )
