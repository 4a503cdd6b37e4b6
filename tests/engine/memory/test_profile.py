"""Measuring an engine in a process of its own."""

import pytest

from limbeck.backends.base import Graph
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.cache import Cache
from limbeck.errors import EngineError, MemoryLimitError
from limbeck.memory.profile import Profile, measure, measure_each
from limbeck.memory.remembered import RememberedProfiles
from support.graphs import tensor, write_graph

MIB = 2**20

pytest.importorskip("onnx", reason="the graph is written with the onnx package")


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> Graph:
    """Takes 16 floats a sample and makes 4 Mi of them (16 MiB) on the way to one."""
    import numpy as np
    from onnx.helper import make_node

    return write_graph(
        tmp_path_factory.mktemp("graph") / "wide.onnx",
        [
            make_node("Tile", ["x", "times"], ["wide"]),
            make_node("Exp", ["wide"], ["other"]),
            make_node("ReduceSum", ["other", "axes"], ["y"], keepdims=1),
        ],
        [tensor("x", "batch", 16)],
        [tensor("y", "batch", 1)],
        {"times": np.array([1, 2**18], np.int64), "axes": np.array([1], np.int64)},
    )


@pytest.fixture(scope="module")
def profiles(graph) -> tuple[Profile, ...]:
    return measure_each(graph, OnnxRuntime(threads=1), sizes=[{"batch": 1}, {"batch": 8}])


def test_a_call_costs_its_activations(profiles):
    small, large = profiles
    # two arrays of 16 MiB a sample live at once, or one where the runtime works in place
    assert 7 * 16 * MIB * 0.9 <= large.run_nbytes - small.run_nbytes <= 7 * 2 * 16 * MIB * 1.2


def test_a_profile_is_of_the_bucket_that_was_asked_for(profiles):
    assert [one.bucket for one in profiles] == [1, 8]


def test_what_stays_is_no_more_than_the_peak(profiles):
    assert all(0 <= one.resident_nbytes <= one.peak_nbytes for one in profiles)


@pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux limits private memory")
def test_what_exceeds_the_limit_is_an_error_and_the_parent_lives(graph):
    with pytest.raises(MemoryLimitError):
        measure(graph, OnnxRuntime(threads=1), sizes={"batch": 64}, limit_nbytes=400 * MIB)


@pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux limits private memory")
def test_sizes_below_the_one_that_does_not_fit_are_measured(graph):
    found = measure_each(graph, OnnxRuntime(threads=1), sizes=[{"batch": 1}, {"batch": 64}], limit_nbytes=400 * MIB)
    assert isinstance(found[0], Profile)
    assert isinstance(found[1], MemoryLimitError)


def test_a_dimension_without_a_size_is_named(graph):
    with pytest.raises(EngineError, match="a size for batch"):
        measure(graph, OnnxRuntime(), sizes={})


def test_a_graph_that_the_backend_refuses_is_refused_as_without_measuring(graph, tmp_path):
    (tmp_path / "torn.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"torn\.onnx"):
        measure(Graph(tmp_path / "torn.onnx", graph.spec, "0" * 64), OnnxRuntime(), sizes={"batch": 1})


def test_a_profile_is_found_again_by_another_process_of_the_same_settings(graph, tmp_path):
    profile = Profile(bucket=2, load_nbytes=1, resident_nbytes=2, run_nbytes=3, load_seconds=0.5, run_seconds=0.25)
    RememberedProfiles(Cache(tmp_path)).put(graph, OnnxRuntime(), {"batch": 2}, profile)
    remembered = RememberedProfiles(Cache(tmp_path))
    assert remembered.get(graph, OnnxRuntime(), {"batch": 2}) == profile
    assert remembered.get(graph, OnnxRuntime(threads=3), {"batch": 2}) is None
    assert remembered.get(graph, OnnxRuntime(), {"batch": 4}) is None
