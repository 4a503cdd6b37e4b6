"""What every backend promises, whatever its runtime."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import pytest

from limbeck.backends.base import Backend, GraphSpec, TensorSpec
from limbeck.backends.null import Null
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.backends.openvino import OpenVino
from limbeck.backends.reference import Reference
from limbeck.engine import compile
from limbeck.errors import EngineError, FeedError
from limbeck.precision import FP32
from support import graphs

pytest.importorskip("onnx")
pytestmark = pytest.mark.torch


@dataclass(frozen=True)
class Candidate:
    """A backend under contract.

    `computes` says whether it opens the file and does the arithmetic, `checks_values` whether it refuses values that
    an operator cannot take, `keeps_symbols` whether it can name a symbolic size of the file.
    """

    make: Callable[[], Backend]
    computes: bool = True
    checks_values: bool = True
    keeps_symbols: bool = True

    def refuses_files(self):
        """EngineError from who opens the file, nothing from who does not."""
        return pytest.raises(EngineError) if self.computes else nullcontext()


def reference(**settings):
    pytest.importorskip("torch")
    return Reference(**settings)


def openvino(**settings):
    pytest.importorskip("openvino")
    return OpenVino(**settings)


CANDIDATES = {
    "onnxruntime": Candidate(lambda: OnnxRuntime(threads=1)),
    "onnxruntime bound": Candidate(lambda: OnnxRuntime(threads=1, bound=True)),
    "onnxruntime lean": Candidate(lambda: OnnxRuntime(threads=1, arena=False, prepacking=False, spinning=False)),
    "onnxruntime shrinking": Candidate(lambda: OnnxRuntime(threads=1, memory_pattern=True, shrink=True)),
    "openvino": Candidate(lambda: openvino(threads=1), checks_values=False, keeps_symbols=False),
    "reference": Candidate(reference),
    "reference float64": Candidate(lambda: reference(dtype="float64")),
    "null": Candidate(Null, computes=False),
}
COMPUTING = {name: candidate for name, candidate in CANDIDATES.items() if candidate.computes}
CHECKING = {name: candidate for name, candidate in COMPUTING.items() if candidate.checks_values}


@pytest.fixture(params=CANDIDATES.values(), ids=CANDIDATES.keys())
def candidate(request):
    return request.param


@pytest.fixture
def backend(candidate):
    return candidate.make()


@pytest.fixture(params=graphs.KNOWN, ids=lambda build: build.__name__)
def known(request, tmp_path):
    return request.param(tmp_path)


def copies(feeds):
    return {name: array.copy() for name, array in feeds.items()}


@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_have_the_names_dtypes_and_shapes_of_the_spec(known, backend, rng, batch):
    feeds = known.feeds(rng, batch)
    with compile(known.graph, backend) as engine:
        outputs = engine.run(feeds)
    answer = known.answer(feeds)
    assert {name: array.shape for name, array in outputs.items()} == {name: a.shape for name, a in answer.items()}
    assert {name: array.dtype for name, array in outputs.items()} == {
        spec.name: np.dtype(spec.dtype) for spec in known.graph.spec.outputs
    }


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("candidate", COMPUTING.values(), ids=COMPUTING.keys())
def test_outputs_are_the_closed_form_within_float32(known, backend, rng, batch):
    feeds = known.feeds(rng, batch)
    with compile(known.graph, backend) as engine:
        outputs = engine.run(feeds)
    for name, exact in known.answer(feeds).items():
        assert np.linalg.norm(outputs[name] - exact) <= FP32.tolerance * np.linalg.norm(exact)


def test_feeds_are_not_changed(known, backend, rng):
    feeds = known.feeds(rng, 2)
    before = copies(feeds)
    with compile(known.graph, backend) as engine:
        engine.run(feeds)
    for name in feeds:
        np.testing.assert_array_equal(feeds[name], before[name])


def test_feeds_need_not_be_contiguous_nor_writable(known, backend, rng):
    feeds = known.feeds(rng, 3)
    backwards = {name: array[::-1].copy()[::-1] for name, array in feeds.items()}
    for array in backwards.values():
        array.flags.writeable = False
    with compile(known.graph, backend) as engine:
        expected, outputs = engine.run(feeds), engine.run(backwards)
    for name in outputs:
        np.testing.assert_array_equal(outputs[name], expected[name])


def test_outputs_belong_to_the_caller(known, backend, rng):
    feeds = known.feeds(rng, 2)
    before = copies(feeds)
    with compile(known.graph, backend) as engine:
        first = engine.run(feeds)
        expected = copies(first)
        for array in first.values():
            array.fill(17)
        again = engine.run(feeds)
    for name in again:
        np.testing.assert_array_equal(again[name], expected[name])
    for name in feeds:
        np.testing.assert_array_equal(feeds[name], before[name])


def test_outputs_survive_the_engine(known, backend, rng):
    with compile(known.graph, backend) as engine:
        outputs = engine.run(known.feeds(rng, 2))
        expected = copies(outputs)
    for name in outputs:
        np.testing.assert_array_equal(outputs[name], expected[name])


def test_the_same_feeds_give_the_same_bytes(known, backend, rng):
    feeds = known.feeds(rng, 3)
    with compile(known.graph, backend) as engine:
        first, second = engine.run(feeds), engine.run(feeds)
    assert {name: array.tobytes() for name, array in first.items()} == {
        name: array.tobytes() for name, array in second.items()
    }


def test_two_engines_of_one_graph_give_the_same_bytes(known, backend, rng):
    feeds = known.feeds(rng, 3)
    with compile(known.graph, backend) as one, compile(known.graph, backend) as other:
        first, second = one.run(feeds), other.run(feeds)
    assert {name: array.tobytes() for name, array in first.items()} == {
        name: array.tobytes() for name, array in second.items()
    }


def test_a_scalar_stays_a_scalar(backend, tmp_path):
    import onnx

    identity = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = graphs.write_graph(tmp_path / "scalar.onnx", [identity], [graphs.tensor("x")], [graphs.tensor("y")])
    with compile(graph, backend) as engine:
        assert engine.run({"x": np.array(2, np.float32)})["y"].shape == ()


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"a": np.zeros((2, 3), np.float32)}, "missing b; unknown none"),
        (
            {name: np.zeros((2, 3), np.float32) for name in ("a", "b", "c")},
            "missing none; unknown c",
        ),
        (
            {"a": np.zeros((2, 3)), "b": np.zeros((2, 3), np.float32)},
            "input 'a' is float64, the graph takes float32",
        ),
        ({"a": [[1.0]], "b": np.zeros((1, 1), np.float32)}, "input 'a' is list, the graph takes float32"),
        ({"a": np.zeros(2, np.float32), "b": np.zeros((2, 3), np.float32)}, r"input 'a' has shape \(2,\)"),
        (
            {"a": np.zeros((2, 3), np.float32), "b": np.zeros((4, 3), np.float32)},
            r"batch is 2 in input 'a' but 4 in input 'b' of shape \(4, 3\)",
        ),
        ({name: np.zeros((0, 3), np.float32) for name in ("a", "b")}, r"input 'a' has shape \(0, 3\), which is empty"),
    ],
    ids=["missing", "unknown", "dtype", "no array", "rank", "symbolic sizes disagree", "empty"],
)
def test_wrong_feeds_are_refused_with_what_is_possible(backend, tmp_path, feeds, message):
    with (
        compile(graphs.two_outputs(tmp_path).graph, backend) as engine,
        pytest.raises(FeedError, match=message) as raised,
    ):
        engine.run(feeds)
    assert str(raised.value).endswith("the graph takes a: float32 (batch, width); b: float32 (batch, width)")


def test_a_wrong_fixed_size_is_refused_with_what_is_possible(backend, tmp_path):
    message = r"input 'x' has shape \(2, 5\)\nthe graph takes x: float32 \(batch, 4\)"
    with compile(graphs.linear(tmp_path).graph, backend) as engine, pytest.raises(FeedError, match=message):
        engine.run({"x": np.zeros((2, 5), np.float32)})


def test_a_refused_feed_does_not_harm_the_engine(backend, tmp_path, rng):
    known = graphs.linear(tmp_path)
    with compile(known.graph, backend) as engine:
        with pytest.raises(FeedError):
            engine.run({})
        assert engine.run(known.feeds(rng, 2))["y"].shape == (2, 3)


def test_a_closed_engine_refuses_to_run(known, backend, rng):
    engine = compile(known.graph, backend)
    engine.close()
    with pytest.raises(EngineError, match="is closed; compile it again"):
        engine.run(known.feeds(rng, 1))


def test_closing_twice_is_closing_once(known, backend):
    engine = compile(known.graph, backend)
    engine.close()
    engine.close()


def truncated(graph):
    graph.path.write_bytes(graph.path.read_bytes()[:-7])


def scribbled(graph):
    graph.path.write_bytes(b"this is no graph" * 8)


def emptied(graph):
    graph.path.write_bytes(b"")


def removed(graph):
    graph.path.unlink()


@pytest.mark.parametrize("damage", [truncated, scribbled, emptied, removed])
def test_a_damaged_file_is_refused_by_name_by_whoever_opens_it(candidate, backend, tmp_path, damage):
    graph = graphs.linear(tmp_path).graph
    damage(graph)
    with candidate.refuses_files() as raised:
        compile(graph, backend)
    assert raised is None or str(graph.path) in str(raised.value)


def other_name(tensor):
    return replace(tensor, name="z")


def other_dtype(tensor):
    return replace(tensor, dtype="float64")


def other_rank(tensor):
    return replace(tensor, shape=(*tensor.shape, 1))


def other_size(tensor):
    return replace(tensor, shape=("batch", 99))


def freed_size(tensor):
    return replace(tensor, shape=("batch", "width"))


@pytest.mark.parametrize("end", ["inputs", "outputs"])
@pytest.mark.parametrize("change", [other_name, other_dtype, other_rank, other_size, freed_size])
def test_a_file_that_is_not_as_described_is_refused_by_whoever_opens_it(candidate, backend, tmp_path, end, change):
    graph = graphs.linear(tmp_path).graph
    (tensor,) = getattr(graph.spec, end)
    described = replace(graph, spec=replace(graph.spec, **{end: (change(tensor),)}))
    with candidate.refuses_files() as raised:
        compile(described, backend)
    shown = str(tensor) if candidate.keeps_symbols else str(tensor).replace("batch", "?")
    assert raised is None or f"{graph.path} has {end} {shown}, but it is described as" in str(raised.value)


def test_a_description_may_fix_a_size_that_the_file_leaves_free(backend, tmp_path):
    graph = graphs.two_outputs(tmp_path).graph
    fixed = GraphSpec(
        tuple(TensorSpec(tensor.name, "float32", ("batch", 3)) for tensor in graph.spec.inputs),
        tuple(TensorSpec(tensor.name, "float32", ("batch", 3)) for tensor in graph.spec.outputs),
    )
    feeds = {name: np.ones((2, 3), np.float32) for name in ("a", "b")}
    with compile(replace(graph, spec=fixed), backend) as engine:
        assert engine.run(feeds)["sum"].shape == (2, 3)


def test_weights_beside_the_file_are_read(candidate, backend, tmp_path, rng):
    import onnx

    known = graphs.linear(tmp_path)
    model = onnx.load(known.graph.path)
    onnx.save(model, known.graph.path, save_as_external_data=True, location="weights.data", size_threshold=0)
    assert (tmp_path / "weights.data").stat().st_size > 0
    feeds = known.feeds(rng, 2)
    with compile(known.graph, backend) as engine:
        outputs = engine.run(feeds)
    expected = known.answer(feeds)["y"] if candidate.computes else 0
    np.testing.assert_allclose(outputs["y"], np.broadcast_to(expected, (2, 3)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("candidate", CHECKING.values(), ids=CHECKING.keys())
@pytest.mark.parametrize("wrong", [7, -8])
def test_what_the_runtime_cannot_compute_is_an_engine_error_with_the_file(backend, tmp_path, wrong):
    graph = graphs.lookup(tmp_path).graph
    with compile(graph, backend) as engine, pytest.raises(EngineError, match=re.escape(str(graph.path))):
        engine.run({"ids": np.array([0, wrong])})


def test_weights_outside_the_graphs_folder_are_not_read(candidate, backend, tmp_path):
    """A pack may come from a stranger; its graph must not read this machine's files."""
    import onnx

    folder = tmp_path / "pack"
    folder.mkdir()
    graph = graphs.linear(folder).graph
    (tmp_path / "secret").write_bytes(bytes(4 * 3 * 4))
    model = onnx.load(graph.path)
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")
    graph.path.write_bytes(model.SerializeToString())
    with candidate.refuses_files():
        compile(graph, backend)
