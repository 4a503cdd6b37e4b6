"""Probes see the values of a graph as it says they are."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import EngineError
from support.graphs import tensor, write_graph

pytestmark = pytest.mark.torch
onnx = pytest.importorskip("onnx")
ir = pytest.importorskip("onnx_ir")
pytest.importorskip("onnxruntime")

from limbeck.quantize.graph_file import open_graph  # noqa: E402
from limbeck.quantize.instrument import Instrumented, Probes  # noqa: E402

X = np.float32([[1 / 3, 999.3, -70000, 1e-9]])


@pytest.fixture
def path(tmp_path):
    """y = x + w, with w in a file beside the graph."""
    write_graph(
        tmp_path / "graph.onnx",
        [onnx.helper.make_node("Add", ["x", "w"], ["y"])],
        [tensor("x", "batch", 4)],
        [tensor("y", "batch", 4)],
        {"w": np.float32([1, 2, 3, 4])},
    )
    model = onnx.load(tmp_path / "graph.onnx")
    onnx.save(model, tmp_path / "graph.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    return tmp_path / "graph.onnx"


def probed(path, ask):
    """The figure that `ask(probes, x)` makes, for X."""
    model = open_graph(path)
    probes = Probes(model)
    probes.read("figure", ask(probes, model.graph.inputs[0]))
    model, names = probes.finish()
    with Instrumented(model, path.parent) as session:
        return session.run({"x": X})[names["figure"]]


def test_weights_are_read_from_where_they_lie(path):
    assert probed(path, lambda probes, x: x.consumers()[0].outputs[0])[0, 1] == np.float32(1001.3)


def test_a_rounded_value_is_what_numpy_rounds_to(path):
    with np.errstate(over="ignore"):
        expected = X.astype(np.float16).astype(np.float32)
    found = probed(path, lambda probes, x: probes.rounded(x, ir.DataType.FLOAT16))
    np.testing.assert_array_equal(found, expected)


def test_the_largest_counts_both_signs(path):
    assert probed(path, lambda probes, x: probes.largest(x)) == 70000


def test_squares_are_summed(path):
    assert probed(path, lambda probes, x: probes.squares(x)) == pytest.approx(np.square(X.astype(np.float64)).sum())


def test_a_graph_that_the_runtime_refuses_says_why(path):
    model = open_graph(path)
    model.graph[0].op_type = "Frobnicate"
    with pytest.raises(EngineError, match=r"ONNX Runtime .* cannot load the graph .*Frobnicate"):
        Instrumented(model, path.parent)
