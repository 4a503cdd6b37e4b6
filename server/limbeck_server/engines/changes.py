"""Loading and unloading a worker's engines at the front's wish, and saying which are loaded."""

from __future__ import annotations

from limbeck.errors import LimbeckError
from limbeck_server.engines.reasons import reason_of
from limbeck_server.engines.table import EngineTable
from limbeck_server.rpc import worker_pb2


def change(table: EngineTable, asked: worker_pb2.EngineChange) -> worker_pb2.EnginesLoaded:
    """Do what was asked; on the worker's thread. The answer says what is loaded then, and why a change failed."""
    act = table.load if asked.load else table.unload
    try:
        act(asked.pack, asked.role)  # type: ignore[arg-type]  # the table refuses what is no role
    except LimbeckError as error:
        return worker_pb2.EnginesLoaded(
            id=asked.id, engines=_engines(table), reason=reason_of(error), message=str(error)
        )
    return loaded(table, asked.id)


def loaded(table: EngineTable, change_id: int = 0) -> worker_pb2.EnginesLoaded:
    """What is loaded now, in the order of names."""
    return worker_pb2.EnginesLoaded(id=change_id, engines=_engines(table))


def _engines(table: EngineTable) -> list[worker_pb2.LoadedEngine]:
    found = sorted(table.loaded, key=lambda one: (one.pack, one.role))
    return [worker_pb2.LoadedEngine(pack=one.pack, role=one.role, engine=one.key) for one in found]
