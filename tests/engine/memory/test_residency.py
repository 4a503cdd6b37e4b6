"""Which engines are loaded, on a backend that counts."""

from pathlib import Path

import numpy as np
import pytest

from limbeck.backends.base import Graph, GraphSpec
from limbeck.engine import compile
from limbeck.memory.residency import Residency
from support.functions import Function
from support.graphs import tensor

FEEDS = {"x": np.zeros((2, 3), np.float32)}


def graphs():
    spec = GraphSpec((tensor("x", "batch", 3),), (tensor("y", "batch", 3),))
    return {role: Graph(Path(f"{role}.onnx"), spec, role * 8) for role in ("encoder", "trunk", "decoder")}


@pytest.fixture
def backend():
    return Function(lambda x: {"y": x + 1})


def test_without_groups_every_engine_is_loaded_on_entering_and_closed_at_the_end(backend):
    with Residency(graphs(), backend) as engines:
        assert engines.loaded == ("encoder", "trunk", "decoder")
    assert backend.num_closed == 3


def test_with_groups_nothing_is_loaded_before_it_runs(backend):
    with Residency(graphs(), backend, groups=[["encoder"], ["trunk", "decoder"]]) as engines:
        assert engines.loaded == ()
        engines["trunk"].run(FEEDS)
        assert engines.loaded == ("trunk",)


def test_an_engine_of_another_group_is_closed_before_the_next_is_loaded(backend):
    with Residency(graphs(), backend, groups=[["encoder"], ["trunk", "decoder"]]) as engines:
        engines["encoder"].run(FEEDS)
        engines["trunk"].run(FEEDS)
        engines["decoder"].run(FEEDS)
        assert engines.loaded == ("trunk", "decoder")
        assert backend.num_closed == 1


def test_a_handle_runs_what_its_engine_runs_however_often_it_was_closed(backend):
    with Residency(graphs(), backend, groups=[["encoder"], ["trunk"], ["decoder"]]) as engines:
        for role in ("encoder", "trunk", "encoder"):
            np.testing.assert_array_equal(engines[role].run(FEEDS)["y"], np.ones((2, 3)))


def test_the_key_of_an_engine_is_known_before_it_is_loaded(backend):
    engines = Residency(graphs(), backend, groups=[["encoder"], ["trunk"], ["decoder"]])
    with compile(graphs()["trunk"], backend) as engine:
        assert engines["trunk"].key == engine.key
    assert engines.loaded == ()


def test_a_role_runs_on_its_own_backend_where_it_has_one(backend):
    other = Function(lambda x: {"y": x + 2})
    with Residency(graphs(), backend, role_backends={"decoder": other}) as engines:
        assert engines["trunk"].run(FEEDS)["y"][0, 0] == 1
        assert engines["decoder"].run(FEEDS)["y"][0, 0] == 2
