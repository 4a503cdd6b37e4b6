"""Which engines a worker has loaded for direct calls, under a limit in bytes: the least recently used go first.

    table = EngineTable({"mini": "mini"}, OnnxRuntime(), bucket=16, limit_nbytes=2 * 2**30)
    table.calls("mini").run("decode", {"latents": latents})

It belongs to one thread, the one on which the worker makes its steps.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from limbeck.arrays import Array
from limbeck.backbone import refuse_without_gradients
from limbeck.backends.base import Backend, Graph, GraphSpec
from limbeck.backends.key import EngineKey
from limbeck.budget import format_nbytes
from limbeck.engine import Engine, compile
from limbeck.errors import MemoryLimitError
from limbeck.memory.process import give_back, usage
from limbeck.pack import Pack, Role
from limbeck_server.engines.pack_calls import PackCalls
from limbeck_server.store.errors import NotFoundError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedEngine:
    """An engine that is loaded: of which pack and role, and its key."""

    pack: str
    role: Role
    key: str


@dataclass
class _Loaded:
    engine: Engine
    resident_nbytes: int
    """By the time it was loaded, and then by the time of its first run."""
    has_run: bool = False


class EngineTable:
    """The engines of some packs, each loaded when it runs first.

    Args:
        packs: A pack's folder by its name; nothing else can be opened through the table.
        backend: What runs the graphs.
        bucket: Samples in one engine call.
        limit_nbytes: The most memory that engines may take: their files, or what loading and the first run were seen to
            take of private memory, whichever is more. None sets no limit.
    """

    def __init__(
        self, packs: Mapping[str, str | Path], backend: Backend, *, bucket: int = 16, limit_nbytes: int | None = None
    ) -> None:
        """Load nothing yet."""
        self._folders = dict(packs)
        self._backend = backend
        self._bucket = bucket
        self._limit_nbytes = limit_nbytes
        self._packs: dict[str, Pack] = {}
        self._calls: dict[str, PackCalls] = {}
        self._loaded: OrderedDict[tuple[str, Role], _Loaded] = OrderedDict()
        self._most_nbytes: dict[tuple[str, Role], int] = {}

    def calls(self, pack: str) -> PackCalls:
        """What a pack answers.

        Raises:
            NotFoundError: No pack has that name.
            PackError: It cannot be read.
        """
        if pack not in self._calls:
            opened = self._pack(pack)
            self._calls[pack] = PackCalls(opened, _Handles(self, pack, opened), bucket=self._bucket)
        return self._calls[pack]

    @property
    def loaded(self) -> tuple[LoadedEngine, ...]:
        """What is loaded now, the most recently used last."""
        return tuple(LoadedEngine(*place, held.engine.key) for place, held in self._loaded.items())

    @property
    def nbytes(self) -> int:
        """What the loaded engines take, as far as it was seen."""
        return sum(self._most_nbytes[place] for place in self._loaded)

    def load(self, pack: str, role: Role) -> Engine:
        """The engine of a role, loaded; others are closed first where the limit asks for it.

        Raises:
            NotFoundError: No pack has that name, or the pack no such role.
            PackError: A file of the pack is damaged.
            MemoryLimitError: Its files alone are larger than the limit, or the runtime gets no memory.
            EngineError: The backend refuses the graph.
        """
        place = (pack, role)
        if place not in self._loaded:
            graph = self.graph(pack, role)
            self._saw(place, self._files_nbytes(pack, role))
            self._make_room(self._most_nbytes[place], keep=place)
            before = _private_nbytes()
            engine = compile(graph, self._backend)
            self._loaded[place] = _Loaded(engine, _private_nbytes() - before)
            self._saw(place, self._loaded[place].resident_nbytes)
            _log.info("engine_loaded pack=%s role=%s key=%s", pack, role, engine.key)
        self._loaded.move_to_end(place)
        return self._loaded[place].engine

    def unload(self, pack: str, role: Role) -> None:
        """Close an engine; one that is not loaded stays so.

        Raises:
            NotFoundError: No pack has that name, or the pack no such role.
        """
        self._refuse_unknown(pack, role)
        if (pack, role) in self._loaded:
            self._close((pack, role))
            give_back()

    def run(self, pack: str, role: Role, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run an engine once, as `Engine.run`; it is loaded if it is not."""
        engine = self.load(pack, role)
        held = self._loaded[pack, role]
        if held.has_run:
            return engine.run(feeds)
        before = _private_nbytes()
        made = engine.run(feeds)
        self._saw((pack, role), held.resident_nbytes + usage().private_nbytes - before)
        held.has_run = True
        self._make_room(0, keep=(pack, role))
        return made

    def graph(self, pack: str, role: Role) -> Graph:
        """The graph of a role, its files checked.

        Raises:
            NotFoundError, PackError, EngineError: As `load`.
        """
        self._refuse_unknown(pack, role)
        if role in ("gradient", "flow_gradient"):
            refuse_without_gradients(self._backend)
        return self._pack(pack).graph(role)

    def key(self, pack: str, role: Role) -> str:
        """The identity of a role's engine; it need not be loaded."""
        return str(EngineKey.of(self.graph(pack, role), self._backend))

    def close(self) -> None:
        """Close every engine; one that is asked for again is loaded again."""
        for place in list(self._loaded):
            self._close(place)
        give_back()

    def _pack(self, name: str) -> Pack:
        if name not in self._folders:
            raise NotFoundError(f"there is no pack '{name}'; there are: {', '.join(sorted(self._folders)) or 'none'}")
        if name not in self._packs:
            self._packs[name] = Pack.open(self._folders[name])
        return self._packs[name]

    def _refuse_unknown(self, pack: str, role: Role) -> None:
        roles = self._pack(pack).manifest.graphs
        if role not in roles:
            raise NotFoundError(f"pack '{pack}' has no engine '{role}'; it has: {', '.join(roles)}")

    def _saw(self, place: tuple[str, Role], nbytes: int) -> None:
        """Remember the most that an engine took: loaded again, it finds memory that others left, and seems smaller."""
        self._most_nbytes[place] = max(self._most_nbytes.get(place, 0), nbytes)

    def _files_nbytes(self, pack: str, role: Role) -> int:
        manifest = self._pack(pack).manifest
        entry = manifest.graphs[role]
        nbytes = sum(manifest.files[name].nbytes for name in (entry.file, *entry.external))
        if self._limit_nbytes is not None and nbytes > self._limit_nbytes:
            raise MemoryLimitError(
                f"engine '{role}' of pack '{pack}' has files of {format_nbytes(nbytes)}, and direct calls may take "
                f"{format_nbytes(self._limit_nbytes)}; raise the server's limit for engines"
            )
        return nbytes

    def _make_room(self, nbytes: int, *, keep: tuple[str, Role]) -> None:
        """Close what was not used for longest, until that many bytes more are within the limit."""
        closed = False
        for place in list(self._loaded):
            if self._limit_nbytes is None or self.nbytes + nbytes <= self._limit_nbytes:
                break
            if place != keep:
                self._close(place)
                closed = True
        if closed:
            give_back()

    def _close(self, place: tuple[str, Role]) -> None:
        self._loaded.pop(place).engine.close()
        _log.info("engine_closed pack=%s role=%s", *place)


def _private_nbytes() -> int:
    """What the process has, without what it has freed: that would hide what an engine takes."""
    give_back()
    return usage().private_nbytes


class _Handles(Mapping[Role, "_Handle"]):
    """The engines of one pack by role, as its adapters use them."""

    def __init__(self, table: EngineTable, name: str, pack: Pack) -> None:
        self._table = table
        self._name = name
        self._pack = pack

    def __getitem__(self, role: Role) -> _Handle:
        if role not in self._pack.manifest.graphs:
            raise KeyError(role)
        return _Handle(self._table, self._name, role)

    def __iter__(self) -> Iterator[Role]:
        return iter(self._pack.manifest.graphs)

    def __len__(self) -> int:
        return len(self._pack.manifest.graphs)


class _Handle:
    """An engine that is loaded when it is asked for, as `limbeck.engine.Runnable`."""

    def __init__(self, table: EngineTable, pack: str, role: Role) -> None:
        self._table = table
        self._place = (pack, role)

    @cached_property
    def spec(self) -> GraphSpec:
        return self._table.graph(*self._place).spec

    @cached_property
    def key(self) -> str:
        return self._table.key(*self._place)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self._table.run(*self._place, feeds)
