"""The probe finds the nodes that 16 bits cannot hold, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import ConfigError
from limbeck.pack import Pack
from support.graphs import attention, tensor, write_graph
from support.precisions import mini_feeds, overflowing, reference

pytestmark = pytest.mark.torch
onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")
pytest.importorskip("onnx_ir")

from limbeck.quantize.half import write_half  # noqa: E402
from limbeck.quantize.islands import IslandLimits, find_islands  # noqa: E402

ONES = {"x": np.ones((1, 8), np.float32)}


def names(islands):
    return [island.node for island in islands]


def test_the_nodes_that_give_or_read_an_overflowing_value_are_found_and_no_others(tmp_path):
    assert names(find_islands(overflowing(tmp_path).path, [ONES])) == ["up", "down"]


def test_the_reason_says_what_was_measured(tmp_path):
    island = find_islands(overflowing(tmp_path).path, [ONES])[0]
    assert island.reason == "value 'huge' reaches 1.8e+05, float16 ends at 6.55e+04"


def test_with_the_islands_found_a_graph_that_overflows_is_finite_and_near(tmp_path):
    graph = overflowing(tmp_path)
    write_half(graph.path, tmp_path / "half.onnx", islands=names(find_islands(graph.path, [ONES])))
    np.testing.assert_allclose(reference(graph, tmp_path / "half.onnx", ONES)["y"], 3, rtol=1e-3)


def test_bfloat16_reaches_as_far_as_float32(tmp_path):
    assert find_islands(overflowing(tmp_path).path, [ONES], dtype="bfloat16") == ()


def test_the_furthest_of_all_feeds_counts(tmp_path):
    near = {"x": np.full((1, 8), -1, np.float32)}
    assert names(find_islands(overflowing(tmp_path).path, [near, ONES, near])) == ["up", "down"]


def test_a_sum_that_overflows_inside_a_node_is_found(tmp_path):
    """The products 40,000 and -40,000 cancel: no value of the graph is large."""
    graph = write_graph(
        tmp_path / "cancelling.onnx",
        [
            onnx.helper.make_node("Add", ["x", "x"], ["twice"], "twice"),
            onnx.helper.make_node("MatMul", ["twice", "weight"], ["y"], "product"),
        ],
        [tensor("x", "batch", 2)],
        [tensor("y", "batch", 1)],
        {"weight": np.float32([[200], [-200]])},
    )
    islands = find_islands(graph.path, [{"x": np.float32([[100, 99.5]])}], limits=IslandLimits(roundings=1e6))
    assert names(islands) == ["product"]


def test_a_mean_whose_sum_overflows_is_found(tmp_path):
    graph = write_graph(
        tmp_path / "mean.onnx",
        [
            onnx.helper.make_node("Relu", ["x"], ["positive"], "relu"),
            onnx.helper.make_node("ReduceMean", ["positive", "axes"], ["y"], "mean"),
        ],
        [tensor("x", "batch", 1000)],
        [tensor("y", "batch", 1)],
        {"axes": np.array([1])},
    )
    assert names(find_islands(graph.path, [{"x": np.full((2, 1000), 100, np.float32)}])) == ["mean"]


def test_an_island_grows_up_to_where_an_angle_is_made(tmp_path):
    """The sine of a rounded angle is wrong however it is computed; a rounded frequency makes it wrong too."""
    make = onnx.helper.make_node
    graph = write_graph(
        tmp_path / "sine.onnx",
        [
            make("Cast", ["time"], ["real"], "cast", to=1),
            make("Mul", ["real", "frequencies"], ["angle"], "angle"),
            make("Sin", ["angle"], ["wave"], "sine"),
            make("Mul", ["wave", "gain"], ["y"], "gain"),
        ],
        [tensor("time", "batch", 1, dtype="int64")],
        [tensor("y", "batch", 3)],
        {"frequencies": np.float32([1, 0.7, 0.3]), "gain": np.float32([2])},
    )
    assert names(find_islands(graph.path, [{"time": np.array([[999], [998], [3]])}])) == ["angle", "sine"]


def test_attention_whose_scores_lie_near_each_other_and_far_from_zero_is_found(tmp_path, rng):
    """Scores of 887 and a bit: float16 holds halves there. Queries and keys themselves are exact in it."""
    case = attention(tmp_path)
    keys = np.repeat(8 + np.arange(5, dtype=np.float32)[None, :, None] / 128, 6, axis=2)
    feeds = {**case.feeds(rng, 1), "query": np.full((1, 5, 6), 64, np.float32), "key": keys}
    assert len(find_islands(case.graph.path, [feeds])) == 1


def test_attention_with_plain_scores_is_none(tmp_path, rng):
    case = attention(tmp_path)
    assert find_islands(case.graph.path, [case.feeds(rng, 2)]) == ()


@pytest.mark.parametrize("role", ["trunk", "encoder", "decoder", "backbone"])
def test_the_networks_of_the_mini_pack_need_no_island(role, rng):
    assert find_islands(Pack.open("mini").graph(role).path, [mini_feeds(role, rng)]) == ()


def test_the_sines_of_time_are_the_islands_of_the_mini_conditioner(rng):
    islands = find_islands(Pack.open("mini").graph("conditioner").path, [mini_feeds("conditioner", rng)])
    assert names(islands) == ["node_mul_3", "node_sin", "node_cos"]


def test_no_feeds_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="give at least one set of feeds"):
        find_islands(overflowing(tmp_path).path, [])


@pytest.mark.parametrize("limits", [{"headroom": 0.5}, {"roundings": 0}, {"depth": -1}])
def test_limits_that_make_everything_an_island_are_refused(limits):
    with pytest.raises(ConfigError, match="must be at least"):
        IslandLimits(**limits)
