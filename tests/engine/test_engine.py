from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.backends.base import Graph, GraphSpec, engine_key
from limbeck.backends.null import Null
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


digests = st.sampled_from([digit * 64 for digit in "0ab"])
backends = st.dictionaries(st.sampled_from(["height", "width"]), st.integers(1, 2)).map(Null)
versions = st.sampled_from(["1.0", "1.0.1", "1.1"])


@given(digests, digests, backends, backends)
def test_two_engines_have_one_key_just_when_digest_and_backend_are_the_same(digest, other_digest, backend, other):
    same = digest == other_digest and backend.sizes == other.sizes
    key = engine_key(replace(GRAPH, digest=digest), backend)
    assert (key == engine_key(replace(GRAPH, digest=other_digest), other)) == same


@given(digests, backends)
def test_a_key_does_not_depend_on_where_the_file_lies(digest, backend):
    graph = replace(GRAPH, digest=digest)
    assert engine_key(graph, backend) == engine_key(replace(graph, path=Path("elsewhere.onnx")), backend)


@given(versions, versions)
def test_another_version_of_a_backend_is_another_key(version, other):
    class Versioned(Function):
        def __init__(self, version):
            super().__init__(scaled)
            self.version = version

        def fingerprint(self):
            return self.version

    assert (engine_key(GRAPH, Versioned(version)) == engine_key(GRAPH, Versioned(other))) == (version == other)


def test_backends_of_one_fingerprint_differ_by_name():
    class Other(Null):
        name = "other"

    assert engine_key(GRAPH, Null()) != engine_key(GRAPH, Other())


def test_an_engine_has_the_key_of_its_graph_and_backend():
    backend = Null()
    with compile(GRAPH, backend) as engine:
        assert engine.key == engine_key(GRAPH, backend)
