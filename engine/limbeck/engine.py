"""`Engine`, a compiled graph that only runs, and `compile`, which makes one.

    with compile(pack.graph("decoder"), OnnxRuntime(threads=2)) as decoder:
        pixels = decoder.run({"latents": latents})["pixels"]

Feeds are checked here, once for every backend, so that a wrong name, dtype or shape is refused with what was got
and what is possible, before a runtime sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from limbeck.arrays import Array
from limbeck.backends.base import AheadOfTimeBackend, Backend, Graph, GraphSpec, Session, TensorSpec
from limbeck.backends.key import EngineKey
from limbeck.cache import Cache
from limbeck.errors import EngineError, FeedError

_BUILT = "engine.bin"


class Runnable(Protocol):
    """What the networks' adapters need of an engine: one that is loaded, or one that is loaded when it runs."""

    @property
    def spec(self) -> GraphSpec:
        """Names, dtypes and shapes of inputs and outputs."""
        ...

    @property
    def key(self) -> str:
        """The engine's identity."""
        ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """As `Engine.run`."""
        ...


class Engine:
    """A graph compiled by a backend.

    Args:
        graph: What was compiled.
        session: The backend's live session of it.
        key: The engine's identity, of graph and backend; see `EngineKey`.
    """

    def __init__(self, graph: Graph, session: Session, key: str) -> None:
        """Use `compile`."""
        self.graph = graph
        self.key = key
        self._session: Session | None = session

    @property
    def spec(self) -> GraphSpec:
        """Names, dtypes and shapes of inputs and outputs, with symbolic dimensions by name."""
        return self.graph.spec

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once.

        Args:
            feeds: One array for each input, of exactly its dtype; not changed.

        Returns:
            One array for each output, owned by the caller.

        Raises:
            FeedError: A name, dtype or shape does not fit the graph, or symbolic sizes disagree.
            EngineError: The engine is closed, or the runtime failed.
        """
        if self._session is None:
            raise EngineError(f"engine of {self.graph.path.parent.name} is closed; compile it again to run it")
        sizes = check_feeds(self.spec, feeds)
        if self.graph.one_by_one:
            return _one_by_one(self._session, self.spec, feeds, sizes)
        return self._session.infer(feeds)

    def close(self) -> None:
        """Give back the session's memory; a second call does nothing."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def compile(graph: Graph, backend: Backend, *, cache: Cache | None = None) -> Engine:
    """Compile `graph` for `backend`.

    Args:
        graph: What to compile.
        backend: What compiles it.
        cache: Where a backend that builds ahead of time finds what it built before, and leaves what it builds now;
            None is this user's. Other backends do not use it.

    Raises:
        BackendUnavailableError: The backend's package, provider or device is not there.
        EngineError: The backend refuses the graph.
    """
    if isinstance(backend, AheadOfTimeBackend):
        session = backend.load(graph, prebuild(graph, backend, cache=Cache() if cache is None else cache))
    else:
        session = backend.compile(graph)
    return Engine(graph, session, str(EngineKey.of(graph, backend)))


def prebuild(graph: Graph, backend: AheadOfTimeBackend, *, cache: Cache) -> bytes:
    """What `compile` loads: from the cache, or built now and left there. The device need not be there.

    Raises:
        BackendUnavailableError: The backend's package is not there, or no target is named and no device is there.
        EngineError: The backend refuses the graph.
    """
    key = EngineKey.of(graph, backend)
    kept = cache.get(key.digest)
    if kept is not None:
        with suppress(FileNotFoundError):  # another process made room since
            return kept[_BUILT].read_bytes()
    built = backend.build(graph)
    cache.put(key.digest, {_BUILT: built}, about={**asdict(key), "shapes": list(key.shapes)})
    return built


def _one_by_one(
    session: Session, spec: GraphSpec, feeds: Mapping[str, Array], sizes: Mapping[str, int]
) -> dict[str, Array]:
    """A call for each sample; samples lie along the first dimension of the first input, and of all that share it."""
    batch = spec.inputs[0].shape[0]
    assert isinstance(batch, str), "a graph whose batch is fixed has nothing to take apart"
    shared = {tensor.name for tensor in spec.inputs if tensor.shape[:1] == (batch,)}
    parts = [
        session.infer({name: array[row : row + 1] if name in shared else array for name, array in feeds.items()})
        for row in range(sizes[batch])
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def check_feeds(spec: GraphSpec, feeds: Mapping[str, Array]) -> dict[str, int]:
    """Check names, dtypes and shapes; returns the size that each symbolic dimension has in these feeds.

    Raises:
        FeedError: With what was got and what is possible.
    """
    expected = {tensor.name for tensor in spec.inputs}
    if expected != feeds.keys():
        missing = ", ".join(sorted(expected - feeds.keys())) or "none"
        unknown = ", ".join(sorted(feeds.keys() - expected)) or "none"
        raise FeedError(f"wrong input names: missing {missing}; unknown {unknown}\n{_possible(spec)}")
    sizes: dict[str, int] = {}
    owner: dict[str, str] = {}
    for tensor in spec.inputs:
        array = feeds[tensor.name]
        if not isinstance(array, np.ndarray) or array.dtype != np.dtype(tensor.dtype):
            got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise FeedError(f"input '{tensor.name}' is {got}, the graph takes {tensor.dtype}\n{_possible(spec)}")
        if array.ndim != len(tensor.shape):
            raise FeedError(f"input '{tensor.name}' has shape {array.shape}\n{_possible(spec)}")
        for size, wanted in zip(array.shape, tensor.shape, strict=True):
            _check_size(spec, tensor, array, size, wanted, sizes, owner)
    return sizes


def _check_size(
    spec: GraphSpec,
    tensor: TensorSpec,
    array: Array,
    size: int,
    wanted: int | str,
    sizes: dict[str, int],
    owner: dict[str, str],
) -> None:
    if size == 0:
        raise FeedError(f"input '{tensor.name}' has shape {array.shape}, which is empty\n{_possible(spec)}")
    if isinstance(wanted, int):
        if size != wanted:
            raise FeedError(f"input '{tensor.name}' has shape {array.shape}\n{_possible(spec)}")
        return
    if sizes.setdefault(wanted, size) != size:
        raise FeedError(
            f"{wanted} is {sizes[wanted]} in input '{owner[wanted]}' but {size} in input '{tensor.name}' "
            f"of shape {array.shape}\n{_possible(spec)}"
        )
    owner.setdefault(wanted, tensor.name)


def _possible(spec: GraphSpec) -> str:
    return "the graph takes " + "; ".join(str(tensor) for tensor in spec.inputs)
