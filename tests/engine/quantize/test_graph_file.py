import tracemalloc

import numpy as np
import pytest

from limbeck.errors import PackError
from support.graphs import tensor, write_graph
from support.quantized import run, with_external_weights

pytest.importorskip("onnx_ir", reason="writing graphs needs the export extra")
pytestmark = pytest.mark.torch

import onnx  # noqa: E402
from onnx.helper import make_node  # noqa: E402

from limbeck.quantize.graph_file import add_lazy, constant, open_graph, replace  # noqa: E402
from limbeck.quantize.graph_file import write_graph as write_changed  # noqa: E402

NUM_WEIGHTS, SIDE = 12, 512
WEIGHT_NBYTES = SIDE * SIDE * 4


@pytest.fixture
def chain(tmp_path):
    """A product with twelve matrices of a megabyte each, in external data."""
    rng = np.random.default_rng(0)
    names = ["x", *(f"h{index}" for index in range(1, NUM_WEIGHTS)), "y"]
    weights = {f"w{index}": rng.standard_normal((SIDE, SIDE), np.float32) / 23 for index in range(NUM_WEIGHTS)}
    nodes = [make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(NUM_WEIGHTS)]
    ends = [tensor("x", "batch", SIDE)], [tensor("y", "batch", SIDE)]
    inside = write_graph(tmp_path / "inside.onnx", nodes, *ends, weights)
    return with_external_weights(inside.path, tmp_path / "chain.onnx")


def doubled(path):
    """The graph with every weight times two, computed while it is written."""
    model = open_graph(path)
    graph = model.graph
    for node in list(graph):
        weight = constant(node.inputs[1])
        new = add_lazy(graph, f"{weight.name}.double", weight.dtype, weight.shape, lambda w=weight: w.read() * 2)
        node.replace_input_with(1, new)
    return model


def test_a_graph_written_unchanged_computes_the_same(chain, tmp_path):
    write_changed(open_graph(chain), tmp_path / "same.onnx")
    feeds = {"x": np.ones((2, SIDE), np.float32)}
    np.testing.assert_array_equal(run(tmp_path / "same.onnx", feeds), run(chain, feeds))


def test_weights_computed_while_writing_are_the_ones_that_run(chain, tmp_path):
    write_changed(doubled(chain), tmp_path / "double.onnx")
    feeds = {"x": np.ones((1, SIDE), np.float32)}
    np.testing.assert_allclose(run(tmp_path / "double.onnx", feeds), run(chain, feeds) * 2**NUM_WEIGHTS, rtol=1e-6)


def test_weights_that_nothing_uses_any_more_are_not_written(chain, tmp_path):
    write_changed(doubled(chain), tmp_path / "double.onnx")
    assert (tmp_path / "double.onnx.data").stat().st_size == NUM_WEIGHTS * WEIGHT_NBYTES


def test_rewriting_holds_a_few_weights_at_a_time(chain, tmp_path):
    tracemalloc.start()
    try:
        write_changed(doubled(chain), tmp_path / "double.onnx")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * WEIGHT_NBYTES


def test_a_small_graph_is_one_file_wherever_its_weights_were(tmp_path):
    nodes = [make_node("MatMul", ["x", "w"], ["y"])]
    ends = [tensor("x", "batch", 2)], [tensor("y", "batch", 2)]
    inside = write_graph(tmp_path / "inside.onnx", nodes, *ends, {"w": np.eye(2, dtype=np.float32)})
    beside = with_external_weights(inside.path, tmp_path / "beside.onnx")
    (tmp_path / "out").mkdir()
    write_changed(open_graph(beside), tmp_path / "out" / "one.onnx")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one.onnx"]


def test_a_graph_can_take_the_place_of_the_one_it_came_from(chain):
    feeds = {"x": np.ones((1, SIDE), np.float32)}
    before = run(chain, feeds)
    write_changed(doubled(chain), chain)
    np.testing.assert_allclose(run(chain, feeds), before * 2**NUM_WEIGHTS, rtol=1e-6)


@pytest.mark.parametrize("link", ["hardlink_to", "symlink_to"])
def test_weights_may_be_a_link(chain, tmp_path, link):
    """Model hubs keep files in a cache and link them into a folder."""
    folder = tmp_path / "linked"
    folder.mkdir()
    (folder / "chain.onnx").write_bytes(chain.read_bytes())
    getattr(folder / "chain.onnx.data", link)(tmp_path / "chain.onnx.data")
    write_changed(doubled(folder / "chain.onnx"), tmp_path / "double.onnx")
    feeds = {"x": np.ones((1, SIDE), np.float32)}
    np.testing.assert_allclose(run(tmp_path / "double.onnx", feeds), run(chain, feeds) * 2**NUM_WEIGHTS, rtol=1e-6)


@pytest.mark.parametrize("place", ["../chain.onnx.data", "/etc/hostname"])
def test_weights_in_another_folder_are_refused(chain, place):
    graph = onnx.load(chain, load_external_data=False)
    for weight in graph.graph.initializer:
        weight.external_data[0].value = place
    chain.write_bytes(graph.SerializeToString())
    with pytest.raises(PackError, match="must lie beside it"):
        open_graph(chain)


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_weights_that_cannot_be_read_leave_nothing_behind(chain, tmp_path, damage):
    data = tmp_path / "chain.onnx.data"
    model = doubled(chain)
    data.unlink() if damage == "missing" else data.write_bytes(b"short")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(PackError, match="cannot be read from disk"):
        write_changed(model, out / "double.onnx")
    assert list(out.iterdir()) == []


def test_a_file_that_is_no_graph_is_named(tmp_path):
    (tmp_path / "noise.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(PackError, match=r"noise\.onnx cannot be read"):
        open_graph(tmp_path / "noise.onnx")


def test_the_constant_behind_a_cast_has_the_type_that_the_graph_uses(tmp_path):
    nodes = [make_node("Cast", ["half"], ["w"], to=1), make_node("MatMul", ["x", "w"], ["y"])]
    ends = [tensor("x", "batch", 2)], [tensor("y", "batch", 2)]
    graph = write_graph(tmp_path / "half.onnx", nodes, *ends, {"half": np.eye(2, dtype=np.float16)})
    weight = constant(open_graph(graph.path).graph[1].inputs[1])
    assert weight.read().dtype == np.float32


def test_a_computed_value_is_no_constant(chain):
    assert constant(open_graph(chain).graph[1].inputs[0]) is None


def test_a_replaced_output_of_the_graph_keeps_its_name(chain, tmp_path):
    model = open_graph(chain)
    last = model.graph[-1]
    replace(last, last.inputs[0])
    assert [value.name for value in model.graph.outputs] == ["y"]
