from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from limbeck.backends.base import Graph, GraphSpec
from limbeck.backends.null import Null
from limbeck.engine import compile
from limbeck.errors import EngineError
from support.graphs import tensor

GRAPH = Graph(
    Path("decoder.onnx"),
    GraphSpec((tensor("latents", "batch", 4),), (tensor("pixels", "batch", 3, "height", "width"),)),
    digest="0" * 64,
)
FEEDS = {"latents": np.ones((2, 4), np.float32)}


def test_outputs_are_zeros():
    with compile(GRAPH, Null(sizes={"height": 8, "width": 6})) as engine:
        np.testing.assert_array_equal(engine.run(FEEDS)["pixels"], np.zeros((2, 3, 8, 6)))


def test_a_size_that_no_input_tells_is_asked_for():
    with (
        compile(GRAPH, Null(sizes={"width": 6})) as engine,
        pytest.raises(EngineError, match=r"Null\(sizes=\{'height'"),
    ):
        engine.run(FEEDS)


def test_an_input_goes_before_a_given_size():
    with compile(GRAPH, Null(sizes={"batch": 9, "height": 8, "width": 6})) as engine:
        assert len(engine.run(FEEDS)["pixels"]) == 2


def test_sizes_given_in_another_order_are_the_same_backend():
    assert Null({"a": 1, "b": 2}).fingerprint() == Null({"b": 2, "a": 1}).fingerprint()
