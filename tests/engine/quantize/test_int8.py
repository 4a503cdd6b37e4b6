from dataclasses import replace

import numpy as np
import pytest

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.engine import compile
from limbeck.errors import ConfigError
from limbeck.pack import Pack
from limbeck.precision import PRECISIONS
from support.graphs import tensor, write_graph
from support.precisions import mini_feeds
from support.quantized import fused_operators, operators, relative_error, run, run_by_the_standard

pytest.importorskip("onnx_ir", reason="writing graphs needs the export extra")
pytestmark = pytest.mark.torch

import onnx  # noqa: E402
from onnx.helper import make_node  # noqa: E402

from limbeck.quantize.int8 import layer_names, write_int8  # noqa: E402

NUM_IN, NUM_OUT = 48, 32


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def linear_graph(folder, rng, form="MatMul", *, weight=None, bias=None):
    """y = x W + b in the form of one exporter or another; returns its path."""
    weight = rng.standard_normal((NUM_IN, NUM_OUT), np.float32) if weight is None else weight
    bias = rng.standard_normal(NUM_OUT, np.float32) if bias is None else bias
    weights = {"fc.weight": weight, "fc.bias": bias}
    if form == "MatMul":
        nodes = [make_node("MatMul", ["x", "fc.weight"], ["xw"]), make_node("Add", ["fc.bias", "xw"], ["y"])]
    elif form == "Gemm":
        nodes = [make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"])]
    elif form == "transposed Gemm":
        weights["fc.weight"] = np.ascontiguousarray(weight.T)
        nodes = [make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"], transB=1)]
    else:
        weights = {"fc.weight.float16": weight.astype(np.float16), "fc.bias": bias}
        nodes = [
            make_node("Cast", ["fc.weight.float16"], ["w"], to=onnx.TensorProto.FLOAT),
            make_node("Gemm", ["x", "w", "fc.bias"], ["y"]),
        ]
    ends = [tensor("x", "batch", NUM_IN)], [tensor("y", "batch", NUM_OUT)]
    return write_graph(folder / "linear.onnx", nodes, *ends, weights).path


FORMS = ["MatMul", "Gemm", "transposed Gemm", "float16 storage"]


@pytest.mark.parametrize("form", FORMS)
def test_a_linear_layer_on_the_grid_is_exact(tmp_path, rng, form):
    """Integers with a range of 255 and weights up to 127 have the scale 1, so nothing is rounded."""
    weight = rng.integers(-127, 128, (NUM_IN, NUM_OUT)).astype(np.float32)
    weight[0] = 127
    graph = linear_graph(tmp_path, rng, form, weight=weight, bias=np.arange(NUM_OUT, dtype=np.float32))
    x = rng.integers(0, 256, (3, NUM_IN)).astype(np.float32)
    x[0, :2] = 0, 255
    write_int8(graph, tmp_path / "int8.onnx", least_weights=0)
    np.testing.assert_allclose(run(tmp_path / "int8.onnx", {"x": x}), x @ weight + np.arange(NUM_OUT), rtol=1e-6)


def test_what_the_runtime_fuses_is_what_the_standard_says(tmp_path, rng):
    write_int8(linear_graph(tmp_path, rng), tmp_path / "int8.onnx", least_weights=0)
    feeds = {"x": rng.standard_normal((5, NUM_IN), np.float32)}
    by_the_standard = run_by_the_standard(tmp_path / "int8.onnx", feeds)
    np.testing.assert_allclose(run(tmp_path / "int8.onnx", feeds), by_the_standard, rtol=1e-4, atol=1e-4)


def test_weights_and_scales_are_those_of_onnx_runtimes_own_quantizer(tmp_path, rng):
    quantization = pytest.importorskip("onnxruntime.quantization")
    graph = linear_graph(tmp_path, rng)
    quantization.quantize_dynamic(
        graph,
        tmp_path / "theirs.onnx",
        per_channel=True,
        extra_options={"MatMulConstBOnly": True, "WeightSymmetric": True},
    )
    write_int8(graph, tmp_path / "ours.onnx", least_weights=0)
    theirs, ours = (
        {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(tmp_path / name).graph.initializer}
        for name in ("theirs.onnx", "ours.onnx")
    )
    np.testing.assert_array_equal(ours["fc.int8"], theirs["fc.weight_quantized"])
    np.testing.assert_allclose(ours["fc.scale"], theirs["fc.weight_scale"], rtol=1e-6)


def test_a_random_layer_stays_within_the_rounding_of_eight_bits(tmp_path, rng):
    """Rounding noise is step / sqrt(12): of the 6 sigma of x in 255 steps, and of W in 254 steps of its own range."""
    graph = linear_graph(tmp_path, rng)
    write_int8(graph, tmp_path / "int8.onnx", least_weights=0)
    feeds = {"x": rng.standard_normal((64, NUM_IN), np.float32)}
    assert relative_error(run(tmp_path / "int8.onnx", feeds), run(graph, feeds)) < 0.012


def test_each_layer_becomes_one_operator_of_the_runtime(tmp_path, rng):
    write_int8(linear_graph(tmp_path, rng), tmp_path / "int8.onnx", least_weights=0)
    assert fused_operators(tmp_path / "int8.onnx", tmp_path) == ["DynamicQuantizeMatMul"]


def projections(folder, rng):
    """Queries, keys and values of one input, then a layer on their sum."""
    weights = {name: rng.standard_normal((NUM_IN, NUM_IN), np.float32) for name in ("q", "k", "v", "out")}
    nodes = [make_node("MatMul", ["x", name], [f"{name}.y"], name=f"to_{name}") for name in ("q", "k", "v")]
    nodes += [make_node("Sum", ["q.y", "k.y", "v.y"], ["sum"]), make_node("MatMul", ["sum", "out"], ["y"], name="last")]
    ends = [tensor("x", "batch", NUM_IN)], [tensor("y", "batch", NUM_IN)]
    return write_graph(folder / "projections.onnx", nodes, *ends, weights).path


def test_layers_of_one_input_share_its_quantization(tmp_path, rng):
    write_int8(projections(tmp_path, rng), tmp_path / "int8.onnx", least_weights=0)
    assert operators(tmp_path / "int8.onnx").count("DynamicQuantizeLinear") == 2


def test_a_layer_that_reads_another_quantized_layer_is_right(tmp_path, rng):
    weights = {f"w{index}": rng.standard_normal((NUM_IN, NUM_IN), np.float32) for index in range(2)}
    nodes = [make_node("MatMul", ["x", "w0"], ["h"]), make_node("MatMul", ["h", "w1"], ["y"])]
    ends = [tensor("x", "batch", NUM_IN)], [tensor("y", "batch", NUM_IN)]
    graph = write_graph(tmp_path / "two.onnx", nodes, *ends, weights).path
    write_int8(graph, tmp_path / "int8.onnx", least_weights=0)
    feeds = {"x": rng.standard_normal((16, NUM_IN), np.float32)}
    assert relative_error(run(tmp_path / "int8.onnx", feeds), run(graph, feeds)) < 0.02


def test_two_layers_of_one_name_are_both_quantized(tmp_path, rng):
    """Layers that share a bias are called alike."""
    weights = {"w0": rng.standard_normal((NUM_IN, NUM_IN), np.float32), "shared.bias": np.ones(NUM_IN, np.float32)}
    weights["w1"] = rng.standard_normal((NUM_IN, NUM_IN), np.float32)
    nodes = [make_node("Gemm", ["x", "w0", "shared.bias"], ["h"]), make_node("Gemm", ["h", "w1", "shared.bias"], ["y"])]
    ends = [tensor("x", "batch", NUM_IN)], [tensor("y", "batch", NUM_IN)]
    graph = write_graph(tmp_path / "alike.onnx", nodes, *ends, weights).path
    write_int8(graph, tmp_path / "int8.onnx", least_weights=0)
    feeds = {"x": rng.standard_normal((16, NUM_IN), np.float32)}
    assert relative_error(run(tmp_path / "int8.onnx", feeds), run(graph, feeds)) < 0.02


CONVOLUTIONS = {
    "padded": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    "halving": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]},
    "padded at one end": {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]},
    "points": {"kernel_shape": [1, 1]},
    "every second point": {"kernel_shape": [1, 1], "strides": [2, 2]},
    "patches": {"kernel_shape": [2, 4], "strides": [2, 4]},
    "not padded": {"kernel_shape": [5, 3]},
}


def convolution_graph(folder, weight, attributes):
    nodes = [make_node("Conv", ["x", "conv.weight", "conv.bias"], ["y"], **attributes)]
    ends = [tensor("x", "batch", 6, "height", "width")], [tensor("y", "batch", 8, "height_out", "width_out")]
    weights = {"conv.weight": weight, "conv.bias": np.arange(8, dtype=np.float32)}
    return write_graph(folder / "convolution.onnx", nodes, *ends, weights).path


@pytest.mark.parametrize("attributes", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("size", [(8, 12), (9, 7)])
def test_a_convolution_on_the_grid_is_exact(tmp_path, rng, attributes, size):
    weight = rng.integers(-127, 128, (8, 6, *attributes["kernel_shape"])).astype(np.float32)
    weight[:, 0, 0, 0] = 127
    graph = convolution_graph(tmp_path, weight, attributes)
    x = rng.integers(-100, 156, (2, 6, *size)).astype(np.float32)
    x[0, 0, 0, :2] = -100, 155
    write_int8(graph, tmp_path / "int8.onnx", least_weights=0)
    np.testing.assert_allclose(run(tmp_path / "int8.onnx", {"x": x}), run(graph, {"x": x}), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("attributes", [{"group": 2}, {"dilations": [2, 2]}, {"auto_pad": "SAME_UPPER"}])
def test_a_convolution_of_another_kind_stays_float32(tmp_path, rng, attributes):
    weight = rng.standard_normal((8, 6 // attributes.get("group", 1), 3, 3), np.float32)
    graph = convolution_graph(tmp_path, weight, {"kernel_shape": [3, 3], **attributes})
    assert layer_names(graph) == []


def test_convolutions_stay_float32_where_asked(tmp_path, rng):
    graph = convolution_graph(tmp_path, rng.standard_normal((8, 6, 3, 3), np.float32), {"kernel_shape": [3, 3]})
    with pytest.raises(ConfigError, match="none of its 1 layers is left"):
        write_int8(graph, tmp_path / "int8.onnx", convolutions=False, least_weights=0)


def test_a_layer_is_called_what_the_network_calls_it(tmp_path, rng):
    assert layer_names(linear_graph(tmp_path, rng)) == ["fc"]


def test_skipped_layers_stay_float32_and_are_in_the_recipe(tmp_path, rng):
    recipe = write_int8(projections(tmp_path, rng), tmp_path / "int8.onnx", skip=["to_q"], least_weights=0)
    assert recipe["float32"] == ["to_q"]
    assert operators(tmp_path / "int8.onnx").count("MatMul") == 1


def test_a_small_layer_stays_float32(tmp_path, rng):
    weights = {"small": rng.standard_normal((NUM_IN, 4), np.float32), "large": rng.standard_normal((4, 49), np.float32)}
    nodes = [make_node("MatMul", ["x", "small"], ["h"], name="first"), make_node("MatMul", ["h", "large"], ["y"])]
    ends = [tensor("x", "batch", NUM_IN)], [tensor("y", "batch", 49)]
    graph = write_graph(tmp_path / "two.onnx", nodes, *ends, weights).path
    assert write_int8(graph, tmp_path / "int8.onnx", least_weights=NUM_IN * 4 + 1)["float32"] == ["first"]


def test_a_layer_that_is_not_there_is_answered_with_the_nearest(tmp_path, rng):
    with pytest.raises(ConfigError, match="no layer 'to_w' to leave in float32; near it: to_"):
        write_int8(projections(tmp_path, rng), tmp_path / "int8.onnx", skip=["to_w"], least_weights=0)


def test_a_graph_with_nothing_to_quantize_is_refused(tmp_path, rng):
    with pytest.raises(ConfigError, match="nothing to quantize"):
        write_int8(linear_graph(tmp_path, rng), tmp_path / "int8.onnx")


@pytest.mark.parametrize("role", ["conditioner", "trunk", "backbone"])
def test_a_shipped_graph_keeps_the_promise_of_int8(tmp_path, rng, role):
    graph, feeds = Pack.open("mini").graph(role).path, mini_feeds(role, rng)
    write_int8(graph, tmp_path / "int8.onnx")
    assert relative_error(run(tmp_path / "int8.onnx", feeds), run(graph, feeds)) < PRECISIONS["int8"].tolerance


def test_a_sample_computes_the_same_whatever_shares_its_call(tmp_path):
    """The range of dynamic activations is the call's: without a call for each sample, one changes another."""
    source = Pack.open("mini").graph("trunk")
    recipe = write_int8(source.path, tmp_path / "model.onnx")
    graph = replace(source, path=tmp_path / "model.onnx", recipe=str(recipe), one_by_one=True)
    rng = np.random.default_rng(0)
    feeds = {
        tensor.name: np.stack([scale * rng.standard_normal(tensor.shape[1:], np.float32) for scale in (1, 4, 9)])
        for tensor in source.spec.inputs
    }
    with compile(graph, OnnxRuntime()) as engine:
        together = engine.run(feeds)["prediction"]
        alone = engine.run({name: array[1:2] for name, array in feeds.items()})["prediction"]
    assert np.array_equal(together[1:2], alone)


def test_a_pack_says_that_samples_of_a_dynamic_int8_graph_must_not_share_a_call():
    pack = Pack.open("mini")
    graphs = dict(pack.manifest.graphs)
    graphs["trunk"] = graphs["trunk"].model_copy(update={"precision": "int8"})
    as_int8 = Pack(pack.folder, pack.manifest.model_copy(update={"graphs": graphs}))
    assert (as_int8.graph("trunk").one_by_one, as_int8.graph("encoder").one_by_one) == (True, False)
