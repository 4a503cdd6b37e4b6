"""Loading and unloading at the front's wish."""

from __future__ import annotations

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.engines.changes import change, loaded
from limbeck_server.rpc import worker_pb2
from support.call_workers import table


def test_a_change_answers_with_what_is_loaded_then() -> None:
    engines = table()
    done = change(engines, worker_pb2.EngineChange(id=3, pack="mini", role="decoder", load=True))
    key = engines.key("mini", "decoder")
    assert done == worker_pb2.EnginesLoaded(
        id=3, engines=[worker_pb2.LoadedEngine(pack="mini", role="decoder", engine=key)]
    )
    assert change(engines, worker_pb2.EngineChange(id=4, pack="mini", role="decoder")) == worker_pb2.EnginesLoaded(id=4)
    engines.close()


def test_a_change_that_fails_says_why() -> None:
    done = change(table(), worker_pb2.EngineChange(id=5, pack="mini", role="shallow", load=True))
    assert (done.id, done.reason) == (5, "NOT_FOUND")
    assert "has no engine 'shallow'" in done.message


def test_what_is_loaded_can_be_said_unasked() -> None:
    assert loaded(table()) == worker_pb2.EnginesLoaded()
