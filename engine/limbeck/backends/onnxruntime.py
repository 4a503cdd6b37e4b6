"""ONNX Runtime, on the CPU or on any provider it was built with."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from limbeck.arrays import Array
from limbeck.backends.base import Backend, Graph, GraphSpec, Session, TensorSpec
from limbeck.backends.spec import check_spec
from limbeck.errors import BackendUnavailableError, EngineError

if TYPE_CHECKING:
    import onnxruntime

CPU = "CPUExecutionProvider"

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}


class OnnxRuntime(Backend):
    """ONNX Runtime.

    Args:
        providers: In order of preference, by ONNX Runtime's names. A provider that cannot be used is an error:
            ONNX Runtime's own silent fall-back to the CPU is refused.
        threads: Threads for one run; None leaves the choice to ONNX Runtime (one a core). Results are the same
            for every count only as far as the runtime's kernels are; the fingerprint holds it.
    """

    name = "onnxruntime"

    def __init__(self, *, providers: Sequence[str] = (CPU,), threads: int | None = None) -> None:
        """Keep the settings; nothing is loaded before `compile`."""
        self.providers = tuple(providers)
        self.threads = threads

    def compile(self, graph: Graph) -> Session:
        """Load the graph, optimize it and check that the providers asked for are the ones in use."""
        ort = _import()
        available = ort.get_available_providers()
        missing = [name for name in self.providers if name not in available]
        if missing:
            raise BackendUnavailableError(
                f"ONNX Runtime {ort.__version__} has no provider {', '.join(missing)}; it has {', '.join(available)}"
            )
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        try:
            session = ort.InferenceSession(str(graph.path), options, providers=list(self.providers))
        except Exception as error:  # the runtime raises classes of its own, all derived from Exception alone
            raise EngineError(f"ONNX Runtime {ort.__version__} cannot load {graph.path}: {error}") from error
        refuse_fallback(self.providers, session.get_providers())
        check_spec(graph, _spec(session))
        return _OnnxRuntimeSession(graph, session)

    def fingerprint(self) -> str:
        """Version, providers and threads."""
        return f"{_import().__version__} {','.join(self.providers)} threads={self.threads}"


def refuse_fallback(asked: Sequence[str], used: Sequence[str]) -> None:
    """Refuse a session that uses less than what was asked for.

    ONNX Runtime leaves out a provider whose libraries do not load, logs it, and goes on with the next.

    Raises:
        BackendUnavailableError: A provider that was asked for is not used.
    """
    lost = [name for name in asked if name not in used]
    if lost:
        raise BackendUnavailableError(
            f"asked for {', '.join(lost)}, but ONNX Runtime could only use {', '.join(used)}; "
            "its libraries (CUDA, cuDNN, …) are missing or of another version"
        )


class _OnnxRuntimeSession(Session):
    def __init__(self, graph: Graph, session: onnxruntime.InferenceSession) -> None:
        self._graph = graph
        self._session: onnxruntime.InferenceSession | None = session
        self._outputs = [tensor.name for tensor in graph.spec.outputs]

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        assert self._session is not None, "Engine refuses a run after close"
        try:
            results = self._session.run(self._outputs, dict(feeds))
        except Exception as error:  # as above
            raise EngineError(f"ONNX Runtime failed in {self._graph.path}: {error}") from error
        return dict(zip(self._outputs, results, strict=True))

    def close(self) -> None:
        self._session = None


def _import() -> ModuleType:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise BackendUnavailableError(
            "the onnxruntime backend needs the 'onnxruntime' package: pip install limbeck installs it"
        ) from error


def _spec(session: onnxruntime.InferenceSession) -> GraphSpec:
    """The runtime's own view of the graph it loaded; a size without a name is "?"."""
    return GraphSpec(
        *(
            tuple(
                TensorSpec(node.name, _DTYPES.get(node.type, node.type), tuple(size or "?" for size in node.shape))
                for node in nodes
            )
            for nodes in (session.get_inputs(), session.get_outputs())
        )
    )
