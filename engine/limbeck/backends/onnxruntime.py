"""ONNX Runtime, on the CPU or on any provider it was built with.

The graph's own spec and the pack's must agree: a pack whose `pack.json` describes another graph is refused here,
not when an image looks wrong.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from limbeck.arrays import Array
from limbeck.backends.base import Backend, Graph, Session
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
        if session.get_providers()[0] != self.providers[0]:
            raise BackendUnavailableError(
                f"asked for {self.providers[0]}, but ONNX Runtime could only use {', '.join(session.get_providers())}; "
                "its libraries (CUDA, cuDNN, …) are missing or of another version"
            )
        _check_spec(graph, session)
        return _OnnxRuntimeSession(graph, session)

    def fingerprint(self) -> str:
        """Version, providers and threads."""
        return f"{importlib.metadata.version('onnxruntime')} {','.join(self.providers)} threads={self.threads}"


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


def _check_spec(graph: Graph, session: onnxruntime.InferenceSession) -> None:
    for kind, listed, found in (
        ("inputs", graph.spec.inputs, session.get_inputs()),
        ("outputs", graph.spec.outputs, session.get_outputs()),
    ):
        said = {tensor.name: (tensor.dtype, len(tensor.shape)) for tensor in listed}
        real = {node.name: (_DTYPES.get(node.type, node.type), len(node.shape)) for node in found}
        if said != real:
            raise EngineError(f"{graph.path} has {kind} {real}, but it is described as {said} (dtype, rank)")
