"""Static int8 graphs: what onnxruntime.quantization makes of the same ranges, and what the runtime fuses."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from limbeck.errors import ConfigError
from limbeck.pack import Pack
from support.graphs import tensor, write_graph
from support.precisions import mini_feeds, relative_error

pytestmark = pytest.mark.torch
onnx = pytest.importorskip("onnx")
onnx_reference = pytest.importorskip("onnx.reference")
pytest.importorskip("onnx_ir")
ort = pytest.importorskip("onnxruntime")

from limbeck.quantize.ranges import Range, gather_ranges  # noqa: E402
from limbeck.quantize.static_int8 import activations, write_static_int8  # noqa: E402

FORMS = ("onnxruntime", "tensorrt")
ROLES = ("conditioner", "trunk", "encoder", "decoder", "backbone")


def run(path, feeds, optimized=None):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def quantized_mini(role, form, folder, rng):
    """Path of the mini graph in static int8 with ranges over seeded feeds, and the feeds."""
    graph, feeds = Pack.open("mini").graph(role), mini_feeds(role, rng)
    ranges = gather_ranges(graph.path, activations(graph.path, form=form), [feeds])
    write_static_int8(graph.path, folder / "int8.onnx", ranges=ranges, form=form, min_size=0)
    return folder / "int8.onnx", feeds


@pytest.fixture
def linear(tmp_path, rng):
    """y = Relu(x W), with W of (6, 4)."""
    make = onnx.helper.make_node
    weight = rng.standard_normal((6, 4), dtype=np.float32)
    return write_graph(
        tmp_path / "linear.onnx",
        [make("MatMul", ["x", "weight"], ["product"], "layer"), make("Relu", ["product"], ["y"], "relu")],
        [tensor("x", "batch", 6)],
        [tensor("y", "batch", 4)],
        {"weight": weight},
    ).path, weight


def test_a_layer_computes_with_the_integers_that_the_definition_gives(linear, tmp_path, rng):
    """uint8 with a zero point for x in [-1, 3], int8 by channel for W; Jacob et al. 2018, section 2.1."""
    path, weight = linear
    write_static_int8(path, tmp_path / "int8.onnx", ranges={"x": Range(-1.0, 3.0)})
    x = rng.uniform(-2, 4, (5, 6)).astype(np.float32)
    scale, zero = np.float32(4 / 255), np.rint(np.float32(1) / np.float32(4 / 255))
    x_int = np.clip(np.rint(x / scale) + zero, 0, 255) - zero
    w_scale = np.abs(weight).max(axis=0) / 127
    w_int = np.clip(np.rint(weight / w_scale), -127, 127)
    expected = np.maximum((x_int @ w_int) * scale * w_scale, 0)
    found = onnx_reference.ReferenceEvaluator(onnx.load(tmp_path / "int8.onnx")).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_form_for_tensorrt_has_no_zero_points(linear, tmp_path):
    path, _ = linear
    write_static_int8(path, tmp_path / "int8.onnx", ranges={"x": Range(-1.0, 3.0)}, form="tensorrt")
    weights = {
        each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(tmp_path / "int8.onnx").graph.initializer
    }
    zeros = [array for name, array in weights.items() if name.endswith("zero_point")]
    assert all(array.dtype == np.int8 and not array.any() for array in zeros)


def test_the_form_for_tensorrt_holds_the_further_end_of_a_range(linear, tmp_path):
    path, _ = linear
    write_static_int8(path, tmp_path / "int8.onnx", ranges={"x": Range(-1.0, 3.0)}, form="tensorrt")
    weights = {
        each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(tmp_path / "int8.onnx").graph.initializer
    }
    assert weights["x.scale"] == np.float32(3 / 127)


def test_onnxruntimes_own_quantizer_gives_the_same_integers_scales_and_zero_points(tmp_path, rng):
    """`quantize_static` on MinMax ranges of the same feeds, for the linear layers of the real trunk.

    It leaves out the inputs of the layers behind attention, as it does not know the type that a contributed operator
    gives.
    """
    quantization = pytest.importorskip("onnxruntime.quantization")
    graph, feeds = Pack.open("mini").graph("trunk"), mini_feeds("trunk", rng)
    model = onnx.load(graph.path)
    _store_as_float32(model)
    onnx.save(model, tmp_path / "plain.onnx")

    waiting = [feeds]

    class Reader(quantization.CalibrationDataReader):
        def get_next(self):
            return waiting.pop() if waiting else None

    quantization.quantize_static(
        tmp_path / "plain.onnx",
        tmp_path / "theirs.onnx",
        Reader(),
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        extra_options={"WeightSymmetric": True, "OpTypesToExcludeOutputQuantization": ["MatMul"]},
    )
    ranges = gather_ranges(graph.path, activations(graph.path), [feeds])
    write_static_int8(graph.path, tmp_path / "ours.onnx", ranges=ranges, min_size=0)
    theirs, ours = _layers(tmp_path / "theirs.onnx"), _layers(tmp_path / "ours.onnx")
    assert len(theirs) == 21
    for name, parameters in theirs.items():
        for found, expected in zip(ours[name], parameters, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5)


def _layers(path):
    """Scale and zero point of what each int8 MatMul reads; scales and integers of its weight."""
    graph = onnx.load(path).graph
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    layers = {}
    for node in graph.node:
        sources = [makers.get(name) for name in node.input]
        if node.op_type == "MatMul" and all(maker and maker.op_type == "DequantizeLinear" for maker in sources):
            x, weight = sources
            layers[node.name] = [weights[name] for name in (*x.input[1:], *weight.input[:2])]
    return layers


def _store_as_float32(model):
    """Fold the casts of weights stored as float16, which the other quantizer does not look through."""
    stored = {each.name: each for each in model.graph.initializer}
    for node in [each for each in model.graph.node if each.op_type == "Cast" and each.input[0] in stored]:
        array = onnx.numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, node.output[0]))
        model.graph.node.remove(node)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("role", ROLES)
def test_a_real_network_in_static_int8_stays_near_itself(role, form, tmp_path, rng):
    path, feeds = quantized_mini(role, form, tmp_path, rng)
    limit = 0.35 if role == "backbone" else 0.12
    assert relative_error(run(path, feeds), run(Pack.open("mini").graph(role).path, feeds)) < limit


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("role", ROLES)
def test_a_quantized_graph_passes_the_checker_with_its_types(role, form, tmp_path, rng):
    path, _ = quantized_mini(role, form, tmp_path, rng)
    onnx.checker.check_model(path, full_check=True)


@pytest.mark.parametrize(
    ("role", "kernel", "count", "left"),
    [
        ("trunk", "MatMulIntegerToFloat", 25, "MatMul"),
        ("conditioner", "QGemm", 7, "Gemm"),
        ("decoder", "QLinearConv", 34, ""),
    ],
)
def test_onnx_runtime_computes_every_quantized_layer_in_int8(role, kernel, count, left, tmp_path, rng):
    path, feeds = quantized_mini(role, "onnxruntime", tmp_path, rng)
    run(path, feeds, tmp_path / "optimized.onnx")
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert (kinds[kernel] >= count, kinds[left]) == (True, 0)


def test_layers_to_skip_stay_float32(tmp_path, rng):
    graph, feeds = Pack.open("mini").graph("trunk"), mini_feeds("trunk", rng)
    everything = activations(graph.path)
    ranges = gather_ranges(graph.path, everything, [feeds])
    write_static_int8(graph.path, tmp_path / "int8.onnx", ranges=ranges, skip=["embed.proj", "attentions.0.to_q"])
    weights = {each.name for each in onnx.load(tmp_path / "int8.onnx", load_external_data=False).graph.initializer}
    assert ("attentions.0.to_q.int8" in weights, "attentions.0.to_k.int8" in weights) == (False, True)


def test_layers_that_hold_little_of_the_weights_stay_float32(tmp_path, rng):
    graph, feeds = Pack.open("mini").graph("trunk"), mini_feeds("trunk", rng)
    ranges = gather_ranges(graph.path, activations(graph.path), [feeds])
    write_static_int8(graph.path, tmp_path / "int8.onnx", ranges=ranges)
    weights = {each.name for each in onnx.load(tmp_path / "int8.onnx", load_external_data=False).graph.initializer}
    names = ("embed.proj.int8", "project.int8", "attentions.0.to_k.int8")
    assert [name in weights for name in names] == [False, False, True]


def test_layers_with_one_input_share_its_quantization(tmp_path, rng):
    path, _ = quantized_mini("trunk", "tensorrt", tmp_path, rng)
    kinds = Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)
    assert kinds["QuantizeLinear"] == 18


def test_inputs_and_outputs_stay_as_they_were(tmp_path, rng):
    path, _ = quantized_mini("decoder", "onnxruntime", tmp_path, rng)
    before = onnx.load(Pack.open("mini").graph("decoder").path).graph
    after = onnx.load(path, load_external_data=False).graph
    assert (list(after.input), list(after.output)) == (list(before.input), list(before.output))


def test_a_missing_range_is_named_with_its_layer(linear, tmp_path):
    with pytest.raises(ConfigError, match=r"1 of 1 activations have no range: 'x' \(layer 'layer'\)"):
        write_static_int8(linear[0], tmp_path / "int8.onnx", ranges={})


def test_a_layer_to_skip_that_does_not_exist_is_named(linear, tmp_path):
    with pytest.raises(ConfigError, match="has no layer nothing to skip; it has 1, such as layer"):
        write_static_int8(linear[0], tmp_path / "int8.onnx", ranges={"x": Range(0.0, 1.0)}, skip=["nothing"])


def test_a_form_that_does_not_exist_is_named(linear, tmp_path):
    with pytest.raises(ConfigError, match="unknown form 'openvino' of static int8; there are onnxruntime, tensorrt"):
        write_static_int8(linear[0], tmp_path / "int8.onnx", ranges={"x": Range(0.0, 1.0)}, form="openvino")


def test_other_ranges_give_another_recipe(linear, tmp_path):
    recipes = [
        write_static_int8(linear[0], tmp_path / "int8.onnx", ranges={"x": Range(0.0, high)}, calibration={"seed": 0})
        for high in (1.0, 2.0)
    ]
    assert recipes[0]["ranges"] != recipes[1]["ranges"]
