"""Mixed precision keeps in float what int8 hurts, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.errors import ConfigError
from limbeck.pack import Pack
from support.graphs import tensor, write_graph

pytestmark = pytest.mark.torch
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx_ir")
ort = pytest.importorskip("onnxruntime")

from limbeck.quantize.calibration import TrajectorySettings, record_trajectories  # noqa: E402
from limbeck.quantize.ranges import gather_ranges  # noqa: E402
from limbeck.quantize.sensitivity import (  # noqa: E402
    LayerError,
    Sensitivity,
    choose_float,
    plan_mixed,
    write_mixed,
)
from limbeck.quantize.static_int8 import activations  # noqa: E402

SIZE = 16


@pytest.fixture
def outlier(tmp_path, rng):
    """Three layers behind each other; one channel of what `middle` reads is 1000 times the others.

    8 bits over that range leave nothing of the other channels, which carry the signal.
    """
    make = onnx.helper.make_node
    up = np.ones(SIZE, np.float32)
    up[0] = 1000
    weights = {
        f"{name}.weight": rng.standard_normal((SIZE, SIZE), dtype=np.float32) / 4
        for name in ("first", "middle", "last")
    }
    weights["middle.weight"][0] = 0
    graph = write_graph(
        tmp_path / "outlier.onnx",
        [
            make("MatMul", ["x", "first.weight"], ["one"], "first"),
            make("Mul", ["one", "up"], ["two"], "up"),
            make("MatMul", ["two", "middle.weight"], ["three"], "middle"),
            make("MatMul", ["three", "last.weight"], ["y"], "last"),
        ],
        [tensor("x", "batch", SIZE)],
        [tensor("y", "batch", SIZE)],
        {**weights, "up": up},
    )
    feeds = [{"x": rng.standard_normal((32, SIZE), dtype=np.float32)}]
    return graph.path, feeds, gather_ranges(graph.path, activations(graph.path), feeds)


@pytest.fixture(scope="module")
def trunk():
    """The mini trunk's sensitivity on rows of its own trajectories, and its ranges."""
    pack = Pack.open("mini")
    settings = TrajectorySettings(num_samples=2, num_steps=2, max_rows=4)
    feeds = list(record_trajectories(pack, OnnxRuntime(threads=1), settings).batches("trunk", 4))
    path = pack.graph("trunk").path
    ranges = gather_ranges(path, activations(path), feeds)
    return Sensitivity(path, feeds, ranges), ranges, feeds


@pytest.fixture(scope="module")
def plan(trunk):
    return plan_mixed(trunk[0], max_error=0.01)


def layers_of(errors, nbytes):
    return [LayerError(str(i), error, size) for i, (error, size) in enumerate(zip(errors, nbytes, strict=True))]


def test_the_layer_with_an_outlier_channel_suffers_most(outlier):
    errors = {layer.name: layer.error for layer in Sensitivity(*outlier).layers()}
    assert errors["middle"] > 10 * max(errors["first"], errors["last"])


def test_the_layer_with_an_outlier_channel_stays_in_float_under_an_error_target(outlier):
    assert plan_mixed(Sensitivity(*outlier), max_error=0.05).float_layers == ("middle",)


def test_the_layer_with_an_outlier_channel_stays_in_float_under_a_size_target(outlier):
    one_float = SIZE * SIZE * (4 + 1 + 1)
    assert plan_mixed(Sensitivity(*outlier), max_nbytes=one_float).float_layers == ("middle",)


def test_the_error_of_a_layer_is_that_of_the_graph_written_with_only_it_in_int8(outlier, tmp_path):
    path, feeds, ranges = outlier
    from limbeck.quantize.static_int8 import write_static_int8

    write_static_int8(path, tmp_path / "int8.onnx", ranges=ranges, skip=["first", "last"])
    expected, found = (ort.InferenceSession(each).run(None, feeds[0])[0] for each in (path, tmp_path / "int8.onnx"))
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert Sensitivity(path, feeds, ranges).layers(["middle"])[0].error == pytest.approx(error, rel=0.02)


def test_squares_of_errors_of_real_layers_add(trunk):
    """What the whole choice rests on: predicted and measured error agree."""
    sensitivity, _, _ = trunk
    layers = sensitivity.layers()
    predicted = math.sqrt(sum(layer.error**2 for layer in layers))
    assert sensitivity.error([layer.name for layer in layers]) == pytest.approx(predicted, rel=0.3)


def test_a_mixed_plan_of_a_real_network_keeps_its_error_target(plan):
    assert plan.measured_error <= 0.01


@pytest.mark.parametrize("rest", ["float32", "float16"])
def test_a_mixed_graph_has_the_error_that_was_planned(rest, plan, trunk, tmp_path):
    _, ranges, feeds = trunk
    path = Pack.open("mini").graph("trunk").path
    write_mixed(path, tmp_path / "mixed.onnx", plan, ranges=ranges, rest=rest)
    expected, found = (ort.InferenceSession(each).run(None, feeds[0])[0] for each in (path, tmp_path / "mixed.onnx"))
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error == pytest.approx(plan.measured_error, rel=0.2)


def test_the_recipe_of_a_mixed_graph_names_what_stays_in_float(plan, trunk, tmp_path):
    path = Pack.open("mini").graph("trunk").path
    recipe = write_mixed(path, tmp_path / "mixed.onnx", plan, ranges=trunk[1])
    assert recipe["skip"] == sorted(plan.float_layers)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 2**20).map(lambda n: 4 * n)), min_size=1, max_size=12),
    st.floats(0, 2),
)
def test_an_error_target_is_kept(drawn, max_error):
    layers = layers_of(*zip(*drawn, strict=True))
    kept = choose_float(layers, max_error=max_error)
    assert sum(layer.error**2 for layer in layers if layer.name not in kept) <= max_error**2 * (1 + 1e-9)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 2**20).map(lambda n: 4 * n)), min_size=1, max_size=12),
    st.floats(0, 1),
)
def test_a_size_target_is_kept(drawn, share):
    layers = layers_of(*zip(*drawn, strict=True))
    smallest = sum(layer.nbytes // 4 for layer in layers)
    max_nbytes = smallest + int(share * 3 * smallest)
    kept = choose_float(layers, max_nbytes=max_nbytes)
    assert sum(layer.nbytes if layer.name in kept else layer.nbytes // 4 for layer in layers) <= max_nbytes


def test_no_error_at_all_leaves_every_layer_in_float():
    assert choose_float(layers_of([0.1, 0.2], [4, 4]), max_error=0) == {"0", "1"}


def test_a_size_that_int8_does_not_reach_is_refused():
    with pytest.raises(ConfigError, match="the layers take 2 bytes with int8 everywhere, 1 were asked"):
        choose_float(layers_of([0.1, 0.2], [4, 4]), max_nbytes=1)


@pytest.mark.parametrize("targets", [{}, {"max_error": 0.1, "max_nbytes": 8}])
def test_one_target_is_needed(targets):
    with pytest.raises(ConfigError, match="one target: max_error or max_nbytes"):
        choose_float(layers_of([0.1], [4]), **targets)


def test_no_feeds_are_refused(outlier):
    with pytest.raises(ConfigError, match="give at least one set of feeds"):
        Sensitivity(outlier[0], [], outlier[2])
