"""ONNX Runtime, on the CPU or on any provider it was built with."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from limbeck.arrays import Array
from limbeck.backends.base import Backend, Graph, GraphSpec, Session, TensorSpec
from limbeck.backends.key import cpu_device, fingerprint
from limbeck.backends.onnxruntime_binding import BoundRuns
from limbeck.backends.onnxruntime_cuda import CUDA, CudaSettings
from limbeck.backends.out_of_memory import runtime_error
from limbeck.backends.spec import check_spec
from limbeck.errors import BackendUnavailableError

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
        arena: Keep freed memory of the CPU for the next run. Without, DiT-XL/2 int8 was 1.2 times slower, and
            its peak higher (1.00 for 0.82 GB).
        memory_pattern: Take the activations of a shape as one block, planned at its first run. The block comes beside
            what the first run left in the arena: from the second call on twice the memory, at no gain in time.
        shrink: Give the arena back after every call, so that an engine that waits costs its weights only.
        prepacking: Copy weights into the layout that kernels want. Without, weights stay mapped from the file and
            can be evicted (anonymous memory of DiT-XL/2 fp32 0.1 for 2.8 GB), and steps take 1.7 times as long.
        spinning: Let idle threads wait busily. Off where other jobs share the machine.
        bound: Run on fixed buffers for each shape; None does so on CUDA, where it saves allocations and copies.
        cuda: Settings of the CUDA provider, where it is one of `providers`.
    """

    name = "onnxruntime"

    def __init__(
        self,
        *,
        providers: Sequence[str] = (CPU,),
        threads: int | None = None,
        arena: bool = True,
        memory_pattern: bool = False,
        shrink: bool = False,
        prepacking: bool = True,
        spinning: bool = True,
        bound: bool | None = None,
        cuda: CudaSettings | None = None,
    ) -> None:
        """Keep the settings; nothing is loaded before `compile`."""
        self.providers = tuple(providers)
        self.threads = threads
        self.arena = arena
        self.memory_pattern = memory_pattern
        self.shrink = shrink
        self.prepacking = prepacking
        self.spinning = spinning
        self.bound = CUDA in self.providers if bound is None else bound
        self.cuda = CudaSettings() if cuda is None else cuda

    def compile(self, graph: Graph) -> Session:
        """Load the graph, optimize it and check that the providers asked for are the ones in use.

        Raises:
            MemoryLimitError: Its weights do not fit into the memory there is.
        """
        ort = _import()
        available = ort.get_available_providers()
        missing = [name for name in self.providers if name not in available]
        if missing:
            raise BackendUnavailableError(
                f"ONNX Runtime {ort.__version__} has no provider {', '.join(missing)}; it has {', '.join(available)}"
            )
        try:
            session = ort.InferenceSession(str(graph.path), self._options(ort), providers=self._providers())
        except Exception as error:  # the runtime raises classes of its own, all derived from Exception alone
            raise runtime_error(f"ONNX Runtime {ort.__version__} cannot load {graph.path}", error) from error
        refuse_fallback(self.providers, session.get_providers())
        check_spec(graph, _spec(session))
        return _OnnxRuntimeSession(graph, session, self._bound_runs(graph, session), self._run_options(ort))

    def fingerprint(self) -> str:
        """Version, every setting, and the CPU's instruction sets."""
        return fingerprint(
            versions={"onnxruntime": _import().__version__},
            settings={
                "providers": self._providers(),
                "threads": self.threads,
                "arena": self.arena,
                "memory_pattern": self.memory_pattern,
                "shrink": self.shrink,
                "prepacking": self.prepacking,
                "spinning": self.spinning,
                "bound": self.bound,
            },
            device=cpu_device(),
        )

    def _options(self, ort: ModuleType) -> onnxruntime.SessionOptions:
        options: onnxruntime.SessionOptions = ort.SessionOptions()
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = self.arena
        options.enable_mem_pattern = self.memory_pattern
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        if not self.prepacking:
            options.add_session_config_entry("session.disable_prepacking", "1")
        if not self.spinning:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    def _run_options(self, ort: ModuleType) -> onnxruntime.RunOptions | None:
        if not (self.shrink and self.arena):
            return None
        options: onnxruntime.RunOptions = ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return options

    def _providers(self) -> list[str | tuple[str, dict[str, str]]]:
        return [(name, self.cuda.provider_options()) if name == CUDA else name for name in self.providers]

    def _bound_runs(self, graph: Graph, session: onnxruntime.InferenceSession) -> BoundRuns | None:
        if not self.bound:
            return None
        outputs = [tensor.name for tensor in graph.spec.outputs]
        if CUDA not in self.providers:
            return BoundRuns(session, outputs, device="cpu")
        return BoundRuns(session, outputs, device="cuda", device_id=self.cuda.device, graphs=self.cuda.graphs)


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
    def __init__(
        self,
        graph: Graph,
        session: onnxruntime.InferenceSession,
        bound: BoundRuns | None,
        options: onnxruntime.RunOptions | None,
    ) -> None:
        self._graph = graph
        self._options = options
        self._session: onnxruntime.InferenceSession | None = session
        self._bound = bound
        self._outputs = [tensor.name for tensor in graph.spec.outputs]

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        assert self._session is not None, "Engine refuses a run after close"
        try:
            if self._bound is not None:
                results = self._bound.run(feeds)
            else:
                results = self._session.run(self._outputs, dict(feeds), self._options)
        except Exception as error:  # as above
            raise runtime_error(f"ONNX Runtime failed in {self._graph.path}", error) from error
        return dict(zip(self._outputs, results, strict=True))

    def close(self) -> None:
        self._session = self._bound = None


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
