"""Which nodes compute in 16 bits, by ONNX's own schemas."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import ConfigError
from support.graphs import tensor, write_graph

pytestmark = pytest.mark.torch
onnx = pytest.importorskip("onnx")
ir = pytest.importorskip("onnx_ir")

from limbeck.quantize.element_types import computes_in, float_values, half, label, refuse_subgraphs  # noqa: E402
from limbeck.quantize.graph_file import open_graph  # noqa: E402


def graph_of(folder, *nodes, weights=None, opset=23):
    """A graph of these nodes, from x to y, both (batch, 4)."""
    path = folder / "graph.onnx"
    write_graph(path, nodes, [tensor("x", "batch", 4)], [tensor("y", "batch", 4)], weights, opset=opset)
    return open_graph(path)


def narrow(model, dtype):
    """Labels of the nodes that compute in `dtype`."""
    floats = float_values(model)
    return [label(node) for node in model.graph if computes_in(model, node, half(dtype), floats)]


def test_a_node_without_a_name_is_called_as_its_first_output(tmp_path):
    model = graph_of(tmp_path, onnx.helper.make_node("Relu", ["x"], ["y"]))
    assert label(model.graph[0]) == "y"


def test_a_contributed_operator_computes_in_the_type_of_its_first_input(tmp_path):
    node = onnx.helper.make_node("FastGelu", ["x"], ["y"], "gelu", domain="com.microsoft")
    assert narrow(graph_of(tmp_path, node), "bfloat16") == ["gelu"]


def test_a_norm_whose_statistics_are_used_stays_float32(tmp_path):
    """ONNX gives mean and deviation in float32 or bfloat16, never in float16."""
    make = onnx.helper.make_node
    model = graph_of(
        tmp_path,
        make("LayerNormalization", ["x", "scale"], ["norm", "mean"], "norm"),
        make("Add", ["norm", "mean"], ["y"], "add"),
        weights={"scale": np.ones(4, np.float32)},
    )
    assert (narrow(model, "float16"), narrow(model, "bfloat16")) == (["add"], ["norm", "add"])


def test_what_is_no_float_is_not_counted(tmp_path):
    make = onnx.helper.make_node
    model = graph_of(
        tmp_path,
        make("Shape", ["x"], ["shape"], "shape"),
        make("Reshape", ["x", "shape"], ["y"], "reshape"),
    )
    assert {value.name for value in float_values(model)} == {"x", "y"}


def test_a_result_that_only_an_attribute_decides_is_typed_by_it(tmp_path):
    make = onnx.helper.make_node
    model = graph_of(
        tmp_path,
        make("Shape", ["x"], ["shape"]),
        make("ConstantOfShape", ["shape"], ["ones"], value=onnx.helper.make_tensor("", 7, [1], [1])),
        make("Cast", ["ones"], ["real"], to=1),
        make("Add", ["x", "real"], ["y"]),
    )
    assert {value.name for value in float_values(model)} == {"x", "real", "y"}


def test_an_operator_that_onnx_does_not_have_is_named(tmp_path):
    model = graph_of(tmp_path, onnx.helper.make_node("Frobnicate", ["x"], ["y"], "strange"))
    with pytest.raises(ConfigError, match="node 'strange' is a Frobnicate, which ONNX's opset 23 does not have"):
        float_values(model)


def test_control_flow_is_refused_by_name(tmp_path):
    make = onnx.helper.make_node
    inner = onnx.helper.make_graph(
        [make("Identity", ["x"], ["z"])], "inner", [], [onnx.helper.make_tensor_value_info("z", 1, ["batch", 4])]
    )
    model = graph_of(
        tmp_path,
        make("If", ["condition"], ["y"], "branch", then_branch=inner, else_branch=inner),
        weights={"condition": np.array(True)},
    )
    with pytest.raises(ConfigError, match=r"nested graphs \(branch\); export it without control flow"):
        refuse_subgraphs(model)


def test_the_halves_are_what_ieee_and_google_say():
    """Largest value and unit roundoff: 11 and 8 significant bits."""
    halves = [half("float16"), half("bfloat16")]
    assert [(one.largest, one.rounding) for one in halves] == [
        (65504.0, pytest.approx(2**-11, rel=1e-3)),
        (pytest.approx(3.39e38, rel=1e-3), 2**-8),
    ]
