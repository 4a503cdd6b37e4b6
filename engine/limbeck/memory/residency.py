"""Which engines are loaded. A group is loaded as its engines are asked for, and freed when another's is.

    with Residency(graphs, backend, groups=[["encoder"], ["conditioner", "trunk"], ["decoder"]]) as engines:
        engines["trunk"].run(feeds)     # whatever was loaded outside its group is closed first

The plan decides the groups; nothing here measures or guesses. Sessions are freed before the next is loaded, and the
heap they leave is given back, since a session freed later is a peak that nobody planned.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Self

from limbeck.arrays import Array
from limbeck.backends.base import Backend, Graph, GraphSpec
from limbeck.backends.key import EngineKey
from limbeck.engine import Engine, compile
from limbeck.memory.process import give_back
from limbeck.pack import Role

_log = logging.getLogger(__name__)


class Residency(Mapping[Role, "Handle"]):
    """The engines of some graphs by role, loaded group by group. Use it by `with`: the end closes them.

    Args:
        graphs: What to run, by role.
        backend: What runs it.
        role_backends: What runs a role, where that is another backend.
        groups: Roles that are loaded together. None, or one group of all: every engine is loaded at once and stays.

    Raises:
        BackendUnavailableError, EngineError: On entering, if all are loaded at once; otherwise when an engine runs.
    """

    def __init__(
        self,
        graphs: Mapping[Role, Graph],
        backend: Backend,
        *,
        role_backends: Mapping[Role, Backend] = MappingProxyType({}),
        groups: Sequence[Sequence[Role]] | None = None,
    ) -> None:
        """Load nothing yet."""
        self._graphs = dict(graphs)
        self._backends = {role: role_backends.get(role, backend) for role in self._graphs}
        self._groups = [frozenset(group) for group in groups or [tuple(graphs)]]
        self._handles = {role: Handle(self, role, graph, self._backends[role]) for role, graph in self._graphs.items()}
        self._loaded: dict[Role, Engine] = {}

    @property
    def loaded(self) -> tuple[Role, ...]:
        """The roles that are loaded now."""
        return tuple(self._loaded)

    def engine(self, role: Role) -> Engine:
        """The engine of `role`, loaded; those outside its group are closed first."""
        if role in self._loaded:
            return self._loaded[role]
        group = next(group for group in self._groups if role in group)
        if strangers := [other for other in self._loaded if other not in group]:
            for other in strangers:
                self._loaded.pop(other).close()
            give_back()
            _log.info("engines_closed roles=%s for=%s", ",".join(strangers), role)
        self._loaded[role] = compile(self._graphs[role], self._backends[role])
        return self._loaded[role]

    def close(self) -> None:
        """Close every engine; one that is asked for again is loaded again."""
        while self._loaded:
            self._loaded.popitem()[1].close()
        give_back()

    def __enter__(self) -> Self:
        if len(self._groups) == 1:
            try:
                for role in self._graphs:
                    self.engine(role)
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getitem__(self, role: Role) -> Handle:
        return self._handles[role]

    def __iter__(self) -> Iterator[Role]:
        return iter(self._handles)

    def __len__(self) -> int:
        return len(self._handles)


class Handle:
    """An engine that is loaded when it runs, as `limbeck.engine.Runnable`; its identity is known before."""

    def __init__(self, residency: Residency, role: Role, graph: Graph, backend: Backend) -> None:
        """Made by `Residency`."""
        self._residency = residency
        self._role = role
        self._graph = graph
        self._backend = backend

    @property
    def spec(self) -> GraphSpec:
        return self._graph.spec

    @property
    def key(self) -> str:
        return str(EngineKey.of(self._graph, self._backend))

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self._residency.engine(self._role).run(feeds)
