from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from limbeck.backends.base import AheadOfTimeBackend, Graph, GraphSpec
from limbeck.backends.key import EngineKey
from limbeck.backends.null import Null
from limbeck.cache import Cache
from limbeck.engine import check_feeds, compile
from limbeck.errors import EngineError, FeedError
from support.functions import Function
from support.graphs import tensor

SPEC = GraphSpec((tensor("x", "batch", 2), tensor("scale", "batch")), (tensor("y", "batch", 2),))
GRAPH = Graph(Path("trunk/model.onnx"), SPEC, digest="0" * 64)
FEEDS = {"x": np.ones((3, 2), np.float32), "scale": np.full(3, 2, np.float32)}


def scaled(x, scale):
    return {"y": x * scale[:, None]}


def test_a_refused_feed_never_reaches_the_backend():
    backend = Function(scaled)
    with compile(GRAPH, backend) as engine, pytest.raises(FeedError):
        engine.run(FEEDS | {"scale": np.ones(2, np.float32)})
    assert backend.calls == []


def test_the_block_closes_the_session_once():
    backend = Function(scaled)
    with compile(GRAPH, backend) as engine:
        engine.close()
    assert backend.num_closed == 1


def test_the_block_closes_the_session_after_an_error():
    backend = Function(scaled)
    with pytest.raises(FeedError), compile(GRAPH, backend) as engine:
        engine.run({})
    assert backend.num_closed == 1


def test_a_closed_engine_is_named():
    engine = compile(GRAPH, Function(scaled))
    engine.close()
    with pytest.raises(EngineError, match="engine of trunk is closed; compile it again to run it"):
        engine.run(FEEDS)


def test_feeds_are_measured():
    assert check_feeds(SPEC, FEEDS) == {"batch": 3}


def test_feeds_in_another_order_are_the_same_feeds():
    assert check_feeds(SPEC, dict(reversed(FEEDS.items()))) == {"batch": 3}


def test_a_number_of_another_byte_order_is_another_dtype():
    swapped = FEEDS["x"].astype(FEEDS["x"].dtype.newbyteorder())
    with pytest.raises(FeedError, match=r"input 'x' is [<>]f4, the graph takes float32"):
        check_feeds(SPEC, FEEDS | {"x": swapped})


def test_an_engine_has_the_key_of_its_graph_and_backend():
    backend = Null()
    with compile(GRAPH, backend) as engine:
        assert engine.key == str(EngineKey.of(GRAPH, backend))


class Built(AheadOfTimeBackend):
    """Builds the graph's digest, counts how often, and loads it as zeros."""

    name = "built"

    def __init__(self):
        self.num_built = 0

    def build(self, graph):
        self.num_built += 1
        return graph.digest.encode()

    def load(self, graph, built):
        assert built == graph.digest.encode()
        return Null().compile(graph)

    def find_device(self):
        pass

    def fingerprint(self):
        return "1.0"


def test_what_was_built_once_is_not_built_again(tmp_path):
    backend = Built()
    for _ in range(2):
        compile(GRAPH, backend, cache=Cache(tmp_path)).close()
    assert backend.num_built == 1


def test_another_graph_is_built_on_its_own(tmp_path):
    backend = Built()
    for digest in ("0" * 64, "1" * 64):
        compile(replace(GRAPH, digest=digest), backend, cache=Cache(tmp_path)).close()
    assert backend.num_built == 2


def test_what_is_damaged_in_the_cache_is_built_again(tmp_path):
    backend = Built()
    compile(GRAPH, backend, cache=Cache(tmp_path)).close()
    (kept,) = tmp_path.glob("entries/*/engine.bin")
    kept.write_bytes(b"")
    compile(GRAPH, backend, cache=Cache(tmp_path)).close()
    assert backend.num_built == 2


def test_the_cache_is_that_of_the_user_if_none_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))
    compile(GRAPH, Built()).close()
    assert len(list(tmp_path.glob("entries/*/engine.bin"))) == 1


def test_a_backend_that_builds_nothing_leaves_the_cache_alone(tmp_path):
    compile(GRAPH, Null(), cache=Cache(tmp_path / "cache")).close()
    assert not (tmp_path / "cache").exists()
