"""Networks of a limbeck pack, through the same adapters and backends as `limbeck distill`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from numpy.typing import NDArray

if TYPE_CHECKING:
    from limbeck.backends.base import Backend, Graph
    from limbeck.engine import Engine
    from limbeck.pack import Role

Feeds = Mapping[str, NDArray[Any]]


BackendName = Literal["onnxruntime", "openvino", "openvino bf16", "cuda", "cuda graphs", "tensorrt", "tensorrt-rtx"]


def _backend(name: BackendName, threads: int, sizes: Mapping[str, int]) -> Backend:
    """The backend of that name; `sizes` of the symbolic dimensions are what a TensorRT engine is built for."""
    if name.startswith("openvino"):
        from limbeck.backends.openvino import OpenVino

        return OpenVino(precision="bfloat16" if name.endswith("bf16") else "float32", threads=threads)
    if name.startswith("tensorrt"):
        from limbeck.backends.tensorrt import TensorRt, TensorRtRtx

        return (TensorRtRtx if name.endswith("rtx") else TensorRt)(profiles=(sizes,))
    from limbeck.backends.onnxruntime import OnnxRuntime
    from limbeck.backends.onnxruntime_cuda import CUDA, CudaSettings

    if name == "onnxruntime":
        return OnnxRuntime(threads=threads)
    return OnnxRuntime(providers=(CUDA,), threads=threads, cuda=CudaSettings(graphs=name.endswith("graphs")))


def _compiled(graph: Graph, name: BackendName, threads: int, feeds: Feeds) -> Engine:
    from limbeck.engine import check_feeds, compile

    return compile(graph, _backend(name, threads, check_feeds(graph.spec, feeds)))


class CutPack:
    """A denoiser cut in a conditioner and a trunk.

    Args:
        pack: Its folder.
        backend: What runs it.
        conditioner: "table": computed once for each condition, before the trunk is loaded, as a run does that meets
            a condition again at every step or for every image; "every call": computed anew, both loaded.
        threads: Threads of one engine.
    """

    packages: ClassVar[tuple[str, ...]] = ("limbeck", "onnxruntime", "openvino")

    def __init__(
        self,
        *,
        pack: str,
        backend: BackendName = "onnxruntime",
        conditioner: Literal["table", "every call"] = "table",
        threads: int,
    ) -> None:
        """Keep the settings."""
        self._folder, self._conditioner = pack, conditioner
        self._backend, self._threads = backend, threads

    def load(self) -> None:
        """Open the pack. Graphs are compiled when they are first needed, for the sizes that are met."""
        from limbeck.pack import Pack

        self._pack = Pack.open(self._folder)
        self._table: dict[bytes, Feeds] = {}
        self._engines: dict[Role, Engine] = {}

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """The noise."""
        prediction = self._run("trunk", {**feeds, **self._conditions(feeds)})["prediction"]
        return prediction[:, : feeds["latents"].shape[1]]

    def _conditions(self, feeds: Feeds) -> Feeds:
        if self._conditioner == "every call":
            return self._run("conditioner", feeds)
        key = b"".join(feeds[tensor.name].tobytes() for tensor in self._pack.manifest.graphs["conditioner"].inputs)
        if key not in self._table:
            self._close("trunk")
            self._table[key] = self._run("conditioner", feeds)
            self._close("conditioner")
        return self._table[key]

    def _run(self, role: Role, feeds: Feeds) -> Feeds:
        graph = self._pack.graph(role) if role not in self._engines else self._engines[role].graph
        given = {tensor.name: feeds[tensor.name] for tensor in graph.spec.inputs}
        if role not in self._engines:
            self._engines[role] = _compiled(graph, self._backend, self._threads, given)
        return self._engines[role].run(given)

    def _close(self, role: Role) -> None:
        if role in self._engines:
            self._engines.pop(role).close()


class GraphOfPack:
    """One graph of a pack whose inputs are the contest's feeds: decoder or backbone.

    Args:
        pack: Its folder.
        role: The graph's role.
        backend: What runs it.
        threads: Threads of the engine.
    """

    packages: ClassVar[tuple[str, ...]] = ("limbeck", "onnxruntime", "openvino")

    def __init__(
        self,
        *,
        pack: str,
        role: Role,
        backend: BackendName = "onnxruntime",
        threads: int,
    ) -> None:
        """Keep the settings."""
        self._folder, self._role = pack, role
        self._backend, self._threads = backend, threads

    def load(self) -> None:
        """Open the pack; the graph is compiled in the first run, for its sizes."""
        from limbeck.pack import Pack

        self._graph = Pack.open(self._folder).graph(self._role)
        self._engine: Engine | None = None

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """Its first output."""
        if self._engine is None:
            self._engine = _compiled(self._graph, self._backend, self._threads, feeds)
        return next(iter(self._engine.run(feeds).values()))
