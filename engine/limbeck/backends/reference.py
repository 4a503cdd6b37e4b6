"""The reference: an ONNX graph interpreted in torch, one operator after another, slow and obvious.

It is what other backends are compared with. Nothing is fused, reordered or approximated; a value is freed after
its last use and that is all the cleverness there is. An operator, an attribute or a combination that `torch_ops`
does not know is refused, never guessed.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from limbeck.arrays import Array
from limbeck.backends.base import Backend, Graph, GraphSpec, Session, TensorSpec
from limbeck.backends.key import cpu_device, fingerprint
from limbeck.backends.spec import check_spec
from limbeck.errors import BackendUnavailableError, ConfigError, EngineError

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

Attention: TypeAlias = Literal["sdpa", "math", "xformers"]
Linear: TypeAlias = Literal["float32", "bitsandbytes-int8", "bitsandbytes-nf4"]
Device: TypeAlias = Literal["cpu", "cuda"]

OPSETS = range(18, 24)
"""The versions of standard ONNX whose operators `torch_ops` computes; their meaning is the same in all of them."""


class Reference(Backend):
    """ONNX in eager torch.

    Args:
        dtype: None computes in the graph's own dtypes. "float64" makes every float of the graph a float64, casts to
            smaller floats included: the truth that rounding errors are measured against. Inputs and outputs keep the
            dtypes of the graph's spec.
        attention: "sdpa" is the kernel that torch chooses, "math" products and a softmax, "xformers" its
            memory-efficient kernel (the xformers package, on CUDA).
        linear: "float32" is as the graph says; "bitsandbytes-int8" and "bitsandbytes-nf4" quantize the constant
            weights of MatMul and Gemm when the graph is compiled (the bitsandbytes package).
        device: "cpu" or "cuda". CUDA was not measured: no GPU was there when this was written.

    The last three make another engine of it, to compare with; the truth is the default.
    """

    name = "reference"

    def __init__(
        self,
        *,
        dtype: Literal["float64"] | None = None,
        attention: Attention = "sdpa",
        linear: Linear = "float32",
        device: Device = "cpu",
    ) -> None:
        """Keep the settings; torch is loaded by `compile`."""
        for name, given, known in (
            ("dtype", dtype, (None, "float64")),
            ("attention", attention, get_args(Attention)),
            ("linear", linear, get_args(Linear)),
            ("device", device, get_args(Device)),
        ):
            if given not in known:
                raise ConfigError(
                    f"the reference backend has {name} {' or '.join(map(repr, known))}, got {name}={given!r}"
                )
        if attention == "xformers" and device != "cuda":
            raise ConfigError("the reference backend has attention='xformers' on device='cuda' only")
        if dtype == "float64" and linear != "float32":
            raise ConfigError(f"the reference backend cannot compute linear={linear!r} in float64")
        self.dtype = dtype
        self.attention = attention
        self.linear = linear
        self.device = device

    def compile(self, graph: Graph) -> Session:
        """Read the file, check it, and find a torch function for each of its nodes.

        Raises:
            BackendUnavailableError: torch or onnx is not installed.
            EngineError: The file is not a graph that this backend can compute, with the reason.
        """
        try:
            import onnx
            import torch
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
        if self.device == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailableError(
                f"the reference backend was asked for device='cuda', but torch {torch.__version__} finds no CUDA device"
            )
        with torch.device(self.device):
            return _ReferenceSession(graph, model.graph, self)

    def fingerprint(self) -> str:
        """Versions of torch and of the package that a setting needs, the settings, and the device."""
        packages = ["torch", *(name for name in ("xformers", "bitsandbytes") if name in self.attention + self.linear)]
        return fingerprint(
            versions={name: _version(name) for name in packages},
            settings={"dtype": self.dtype, "attention": self.attention, "linear": self.linear},
            device=cpu_device() if self.device == "cpu" else self.device,
        )


@dataclass(frozen=True)
class _Step:
    """One node: what to call, on which values, and which values nothing needs afterwards."""

    label: str
    operator: str
    function: Callable[..., Any]
    attributes: Mapping[str, Any]
    inputs: Sequence[str]
    outputs: Sequence[str]
    dead: Sequence[str]


class _ReferenceSession(Session):
    def __init__(self, graph: Graph, proto: onnx.GraphProto, settings: Reference) -> None:
        self._graph = graph
        self._settings = settings
        self._wide = settings.dtype == "float64"
        self._weights = {tensor.name: _tensor(graph.path, tensor, self._wide) for tensor in proto.initializer}
        self._steps = _steps(graph, proto, self._wide)
        if settings.attention == "xformers":
            self._steps = [_with_xformers(step) for step in self._steps]
        if settings.linear != "float32":
            self._cast_weights()
            self._steps = [_quantized(step, self._weights, settings.linear) for step in self._steps]
            used = {name for step in self._steps for name in step.inputs}
            self._weights = {name: weight for name, weight in self._weights.items() if name in used}

    def _cast_weights(self) -> None:
        """Weights that are stored in float16 and cast to float32, cast once, so that they are seen to be constant."""
        for step in list(self._steps):
            if step.operator == "Cast" and step.inputs[0] in self._weights:
                self._weights.update(self._outputs(step, self._weights))
                self._steps.remove(step)

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        import torch

        from limbeck.backends.torch_kernels import attention_kernels

        # torch cannot take negative strides, and warns of arrays that it must not write: hence a copy
        copies = {name: np.array(array, order="C") for name, array in feeds.items()}
        values = {
            name: _widened(torch.from_numpy(array), self._wide).to(self._settings.device)
            for name, array in copies.items()
        }
        values |= self._weights
        with torch.inference_mode(), torch.device(self._settings.device), attention_kernels(self._settings.attention):
            for step in self._steps:
                values.update(self._outputs(step, values))
                for name in step.dead:
                    values.pop(name, None)  # a quantized layer has no weight among the values
        return {
            tensor.name: np.array(values[tensor.name].cpu().numpy(), dtype=tensor.dtype)
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
        steps.append(_Step(label, node.op_type, function, attributes, tuple(node.input), tuple(node.output), dead))
    return steps[::-1]


def _with_xformers(step: _Step) -> _Step:
    from limbeck.backends.torch_kernels import xformers_attention

    return replace(step, function=xformers_attention) if step.operator == "MultiHeadAttention" else step


def _quantized(step: _Step, weights: Mapping[str, Tensor], kind: Linear) -> _Step:
    """A product with a constant weight on bitsandbytes; any other step as it is."""
    from limbeck.backends.torch_kernels import MIN_WEIGHTS, quantized_gemm, quantized_linear

    weight = weights.get(step.inputs[1]) if step.operator in ("MatMul", "Gemm") else None
    if weight is None or weight.ndim != 2 or weight.numel() < MIN_WEIGHTS:
        return step
    product = quantized_linear(kind, weight.T if step.attributes.get("transB") else weight)
    inputs = (step.inputs[0], *step.inputs[2:])
    function = product if step.operator == "MatMul" else quantized_gemm(product, step.attributes)
    return replace(step, function=function, inputs=inputs, attributes={})


def _function(path: Path, node: onnx.NodeProto, label: str) -> Callable[..., Any]:
    from limbeck.backends.torch_ops import OPERATORS

    function = OPERATORS.get((_domain(node.domain), node.op_type))
    if function is None:
        raise EngineError(
            f"the reference backend does not know {label} of {path}; it knows: "
            + ", ".join(sorted(name for _, name in OPERATORS))
        )
    return function


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _domain(name: str) -> str:
    """Standard ONNX has two names."""
    return "" if name == "ai.onnx" else name


def _attribute(path: Path, node: onnx.NodeProto, item: onnx.AttributeProto, wide: bool) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(item)
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    if wide and (node.op_type, item.name) == ("Cast", "to") and value in floats:
        return onnx.TensorProto.DOUBLE
    if isinstance(value, bytes):
        return value.decode()
    return _tensor(path, value, wide) if isinstance(value, onnx.TensorProto) else value


def _tensor(path: Path, proto: onnx.TensorProto, wide: bool) -> Tensor:
    import onnx
    import torch

    array = onnx.numpy_helper.to_array(proto)
    if proto.data_type == onnx.TensorProto.BFLOAT16:  # NumPy has it as a foreign type, which torch does not take
        return _widened(torch.tensor(array.view(np.uint16)).view(torch.bfloat16), wide)
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

    # inside a graph there may be bfloat16, but NumPy cannot feed it
    known = {number: str(dtype).removeprefix("torch.") for number, dtype in DTYPES.items()}
    del known[onnx.TensorProto.BFLOAT16]
    kind = value.type.tensor_type
    if not kind.HasField("shape") or kind.elem_type not in known:
        raise EngineError(
            f"'{value.name}' of {path} is no dense tensor of known rank and of a dtype that the reference backend "
            f"takes and gives ({', '.join(known.values())})"
        )
    return TensorSpec(
        value.name,
        onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
        tuple(size.dim_value if size.HasField("dim_value") else size.dim_param or "?" for size in kind.shape.dim),
    )
