from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from limbeck.backends.onnxruntime import CPU, OnnxRuntime, refuse_fallback
from limbeck.backends.onnxruntime_cuda import CUDA, CudaSettings
from limbeck.engine import compile
from limbeck.errors import BackendUnavailableError, ConfigError
from support.graphs import linear, tensor, write_graph


@pytest.mark.torch
def test_an_unknown_provider_is_refused_with_those_there_are(tmp_path):
    pytest.importorskip("onnx")
    message = f"has no provider NoSuchProvider; it has .*{CPU}"
    with pytest.raises(BackendUnavailableError, match=message):
        compile(linear(tmp_path).graph, OnnxRuntime(providers=["NoSuchProvider", CPU]))


@pytest.mark.parametrize("asked", [[CUDA], [CUDA, CPU], [CPU, CUDA]])
def test_falling_back_to_another_provider_is_refused(asked):
    with pytest.raises(BackendUnavailableError, match=f"asked for {CUDA}, but ONNX Runtime could only use {CPU}"):
        refuse_fallback(asked, [CPU])


def test_a_provider_that_the_runtime_adds_is_no_fallback():
    refuse_fallback([CUDA], [CUDA, CPU])


@pytest.mark.parametrize(
    "other",
    [
        {"threads": 2},
        {"threads": None},
        {"providers": [CUDA, CPU]},
        {"arena": False},
        {"memory_pattern": True},
        {"shrink": True},
        {"prepacking": False},
        {"spinning": False},
        {"bound": True},
    ],
    ids=str,
)
def test_a_setting_is_in_the_fingerprint(other):
    assert OnnxRuntime(**{"threads": 1} | other).fingerprint() != OnnxRuntime(threads=1).fingerprint()


def test_the_version_is_in_the_fingerprint():
    assert onnxruntime.__version__ in OnnxRuntime().fingerprint()


@pytest.mark.parametrize(
    "other", [{"device": 1}, {"limit_nbytes": 2**30}, {"convolutions": "exhaustive"}, {"graphs": True}], ids=str
)
def test_a_setting_of_cuda_is_in_the_fingerprint(other):
    on_gpu = OnnxRuntime(providers=[CUDA], cuda=CudaSettings(**other))
    assert on_gpu.fingerprint() != OnnxRuntime(providers=[CUDA]).fingerprint()


def test_cuda_gets_the_limit_and_allocates_no_more_than_is_asked_for():
    options = CudaSettings(limit_nbytes=2**30).provider_options()
    assert (options["gpu_mem_limit"], options["arena_extend_strategy"]) == ("1073741824", "kSameAsRequested")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"device": -1}, "counted from 0, got device=-1"),
        ({"limit_nbytes": 0}, "at least one byte, got limit_nbytes=0"),
        ({"convolutions": "fast"}, "'heuristic', 'default' or 'exhaustive', got 'fast'"),
    ],
)
def test_a_setting_of_cuda_that_cannot_work_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        CudaSettings(**wrong)


@pytest.mark.torch
def test_bound_buffers_serve_shapes_in_any_order(tmp_path, rng):
    pytest.importorskip("onnx")
    known = linear(tmp_path)
    with compile(known.graph, OnnxRuntime()) as free, compile(known.graph, OnnxRuntime(bound=True)) as bound:
        for batch in (2, 5, 2, 1, 5):
            feeds = known.feeds(rng, batch)
            assert bound.run(feeds)["y"].tobytes() == free.run(feeds)["y"].tobytes()


UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
import numpy as np
from limbeck.backends.base import Graph, GraphSpec, TensorSpec
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.engine import compile
from limbeck.errors import MemoryLimitError
spec = GraphSpec((TensorSpec("x", "float32", ("batch",)),), (TensorSpec("y", "float32", ("batch", "batch")),))
graph = Graph(Path(sys.argv[1]), spec, digest="0" * 64)
with compile(graph, OnnxRuntime(threads=1, bound=sys.argv[2] == "bound")) as engine:
    engine.run({"x": np.ones(10, np.float32)})
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
    try:
        engine.run({"x": np.ones(2**14, np.float32)})
    except MemoryLimitError as error:
        print(error)
    assert engine.run({"x": np.ones(10, np.float32)})["y"].shape == (10, 10)
"""


@pytest.mark.torch
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set and read as Linux does")
@pytest.mark.parametrize("how", ["free", "bound"])
def test_memory_that_the_system_refuses_is_a_memory_limit_error_and_the_engine_lives_on(tmp_path, how):
    """An output of 1 GiB where 256 MiB are left."""
    onnx = pytest.importorskip("onnx")
    nodes = [
        onnx.helper.make_node("Unsqueeze", ["x", "one"], ["column"]),
        onnx.helper.make_node("Mul", ["column", "x"], ["y"]),
    ]
    inputs, outputs = [tensor("x", "batch")], [tensor("y", "batch", "batch")]
    graph = write_graph(tmp_path / "outer.onnx", nodes, inputs, outputs, {"one": np.array([1])})
    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, str(graph.path), how], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "memory ran out" in done.stdout) == (0, True), done.stderr
