"""16-bit graphs: strongly typed, float32 outside, and rounded where NumPy says."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import ConfigError
from limbeck.pack import Pack
from support.graphs import KNOWN, tensor, write_graph
from support.precisions import mini_feeds, overflowing, reference, relative_error

pytestmark = pytest.mark.torch
onnx = pytest.importorskip("onnx")
onnx_reference = pytest.importorskip("onnx.reference")
pytest.importorskip("torch")
pytest.importorskip("onnx_ir")

from limbeck.quantize.half import write_half  # noqa: E402

ROLES = ("conditioner", "trunk", "encoder", "decoder", "backbone")
ANGLES = ("node_mul_3", "node_sin", "node_cos")
"""The mini conditioner's sines of time: what `find_islands` finds in it."""


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.__name__)
def test_a_float16_graph_computes_what_the_float32_graph_does_within_rounding(known, tmp_path, rng):
    case = known(tmp_path)
    feeds = case.feeds(rng, 3)
    write_half(case.graph.path, tmp_path / "half.onnx")
    assert relative_error(reference(case.graph, tmp_path / "half.onnx", feeds), case.answer(feeds)) < 2e-3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_operation_is_rounded_as_numpy_rounds_it(dtype, tmp_path, rng):
    """Bit for bit: x * a + b, each result in 16 bits."""
    import ml_dtypes

    a, b = rng.standard_normal((2, 5), dtype=np.float32)
    graph = write_graph(
        tmp_path / "affine.onnx",
        [onnx.helper.make_node("Mul", ["x", "a"], ["scaled"]), onnx.helper.make_node("Add", ["scaled", "b"], ["y"])],
        [tensor("x", "batch", 5)],
        [tensor("y", "batch", 5)],
        {"a": a, "b": b},
    )
    write_half(graph.path, tmp_path / "half.onnx", dtype=dtype)
    x = rng.standard_normal((4, 5), dtype=np.float32)
    small = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}[dtype]
    expected = (x.astype(small) * a.astype(small) + b.astype(small)).astype(np.float32)
    found = onnx_reference.ReferenceEvaluator(onnx.load(tmp_path / "half.onnx")).run(None, {"x": x})[0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("role", ROLES)
def test_a_real_network_in_float16_stays_near_itself(role, tmp_path, rng):
    graph, feeds = Pack.open("mini").graph(role), mini_feeds(role, rng)
    write_half(graph.path, tmp_path / "half.onnx", islands=ANGLES if role == "conditioner" else ())
    found = reference(graph, tmp_path / "half.onnx", feeds)
    assert relative_error(found, reference(graph, graph.path, feeds)) < 5e-3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("role", ROLES)
def test_a_half_graph_passes_the_checker_with_its_types(role, dtype, tmp_path):
    write_half(Pack.open("mini").graph(role).path, tmp_path / "half.onnx", dtype=dtype)
    onnx.checker.check_model(tmp_path / "half.onnx", full_check=True)


@pytest.mark.parametrize("role", ROLES)
def test_onnx_runtime_agrees_with_the_types_of_a_bfloat16_graph(role, tmp_path):
    """Its CPU has no kernels for bfloat16, which it says after it has checked the types, contributed ones too."""
    ort = pytest.importorskip("onnxruntime")
    write_half(Pack.open("mini").graph(role).path, tmp_path / "half.onnx", dtype="bfloat16")
    with pytest.raises(Exception, match="Could not find an implementation"):
        ort.InferenceSession(tmp_path / "half.onnx")


@pytest.mark.parametrize("role", ["conditioner", "encoder", "decoder"])
def test_a_bfloat16_network_stays_near_itself(role, tmp_path, rng):
    graph, feeds = Pack.open("mini").graph(role), mini_feeds(role, rng)
    islands = ANGLES if role == "conditioner" else ()
    write_half(graph.path, tmp_path / "half.onnx", dtype="bfloat16", islands=islands)
    names = [output.name for output in graph.spec.outputs]
    found = onnx_reference.ReferenceEvaluator(onnx.load(tmp_path / "half.onnx")).run(names, feeds)
    assert relative_error(dict(zip(names, found, strict=True)), reference(graph, graph.path, feeds)) < 2e-2


@pytest.mark.parametrize("role", ROLES)
def test_inputs_and_outputs_keep_name_type_and_shape(role, tmp_path):
    graph = Pack.open("mini").graph(role)
    write_half(graph.path, tmp_path / "half.onnx")
    before, after = onnx.load(graph.path).graph, onnx.load(tmp_path / "half.onnx", load_external_data=False).graph
    assert (list(after.input), list(after.output)) == (list(before.input), list(before.output))


def test_all_large_weights_are_in_16_bits(tmp_path):
    write_half(Pack.open("mini").graph("trunk").path, tmp_path / "half.onnx", dtype="bfloat16")
    weights = onnx.load(tmp_path / "half.onnx", load_external_data=False).graph.initializer
    types = {weight.data_type for weight in weights if np.prod(weight.dims) > 100}
    assert types == {onnx.TensorProto.BFLOAT16}


def test_neighboring_islands_pass_values_on_unrounded(tmp_path):
    graph = overflowing(tmp_path)
    write_half(graph.path, tmp_path / "half.onnx", islands=["up", "down"])
    found = reference(graph, tmp_path / "half.onnx", {"x": np.ones((1, 8), np.float32)})
    np.testing.assert_allclose(found["y"], 3, rtol=1e-3)


def test_without_islands_the_same_graph_overflows(tmp_path):
    graph = overflowing(tmp_path)
    write_half(graph.path, tmp_path / "half.onnx", islands=["down"])
    found = reference(graph, tmp_path / "half.onnx", {"x": np.ones((1, 8), np.float32)})
    assert np.isinf(found["y"]).all()


def test_a_weight_beyond_the_type_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"weight 'divisor' reaches 9e\+04, float16 ends at 6.55e\+04"):
        write_half(overflowing(tmp_path).path, tmp_path / "half.onnx")


def test_a_refused_graph_leaves_no_file(tmp_path):
    graph = overflowing(tmp_path)
    with pytest.raises(ConfigError):
        write_half(graph.path, tmp_path / "half.onnx")
    assert list(tmp_path.iterdir()) == [graph.path]


def test_an_island_that_is_no_node_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="has no node nowhere to keep in float32"):
        write_half(overflowing(tmp_path).path, tmp_path / "half.onnx", islands=["nowhere"])


def test_a_type_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown half precision 'float8'; there are float16 and bfloat16"):
        write_half(overflowing(tmp_path).path, tmp_path / "half.onnx", dtype="float8")


def test_the_recipe_holds_every_setting(tmp_path):
    recipe = write_half(overflowing(tmp_path).path, tmp_path / "half.onnx", islands=["up", "down"])
    assert recipe == {"dtype": "float16", "islands": ["down", "up"]}


def test_what_reads_dequantized_values_stays_float32(tmp_path):
    """Otherwise a Cast would stand between DequantizeLinear and MatMul, and no runtime would see an int8 layer."""
    make = onnx.helper.make_node
    graph = write_graph(
        tmp_path / "quantized.onnx",
        [
            make("QuantizeLinear", ["x", "scale", "zero"], ["small"]),
            make("DequantizeLinear", ["small", "scale", "zero"], ["back"]),
            make("MatMul", ["back", "weight"], ["product"], "layer"),
            make("Relu", ["product"], ["y"]),
        ],
        [tensor("x", "batch", 4)],
        [tensor("y", "batch", 4)],
        {"scale": np.float32(0.1), "zero": np.int8(0), "weight": np.eye(4, dtype=np.float32)},
    )
    write_half(graph.path, tmp_path / "half.onnx")
    model = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "half.onnx"), check_type=True, strict_mode=True)
    (layer,) = (node for node in model.graph.node if node.name == "layer")
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    assert types[layer.input[0]] == types[layer.output[0]] == onnx.TensorProto.FLOAT
