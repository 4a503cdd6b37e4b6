import numpy as np
import pytest

from limbeck.errors import ConfigError
from limbeck.pack import Pack
from limbeck.precision import PRECISIONS
from support.graphs import tensor, write_graph
from support.precisions import mini_feeds
from support.quantized import operators, relative_error, run, run_by_the_standard

pytest.importorskip("onnx_ir", reason="writing graphs needs the export extra")
pytestmark = pytest.mark.torch

from onnx.helper import make_node  # noqa: E402

from limbeck.quantize.weight_only import write_weight_only  # noqa: E402

NUM_IN, NUM_OUT = 80, 24
"""Inputs that no block of 32 divides."""


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def linear_graph(folder, weight):
    """y = x W + b; returns its path."""
    nodes = [make_node("MatMul", ["x", "fc.weight"], ["xw"]), make_node("Add", ["xw", "fc.bias"], ["y"])]
    ends = [tensor("x", "batch", NUM_IN)], [tensor("y", "batch", NUM_OUT)]
    weights = {"fc.weight": weight, "fc.bias": np.arange(NUM_OUT, dtype=np.float32)}
    return write_graph(folder / "linear.onnx", nodes, *ends, weights).path


FORMS = [(8, "matmul_nbits"), (4, "matmul_nbits"), (8, "dequantize"), (4, "dequantize")]


@pytest.mark.parametrize(("bits", "form"), FORMS)
def test_weights_on_the_grid_of_their_block_are_exact(tmp_path, rng, bits, form):
    limit = 127 if bits == 8 else 7
    weight = rng.integers(-limit, limit + 1, (NUM_IN, NUM_OUT)).astype(np.float32)
    weight[::16] = limit
    weight[16:32] *= 0.125
    graph = linear_graph(tmp_path, weight)
    write_weight_only(graph, tmp_path / "small.onnx", bits=bits, block=16, form=form, least_weights=0)
    x = rng.standard_normal((5, NUM_IN), np.float32)
    np.testing.assert_allclose(run(tmp_path / "small.onnx", {"x": x}), run(graph, {"x": x}), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("bits", "form"), FORMS)
def test_the_last_block_may_be_shorter(tmp_path, rng, bits, form):
    graph = linear_graph(tmp_path, rng.standard_normal((NUM_IN, NUM_OUT), np.float32))
    write_weight_only(graph, tmp_path / "small.onnx", bits=bits, block=32, form=form, least_weights=0)
    feeds = {"x": rng.standard_normal((16, NUM_IN), np.float32)}
    # half a step is uniform: 1 / sqrt(12) of a step, which is 2.1 sigma (the peak of 32) in 127 or in 7
    expected = 2.1 / (127 if bits == 8 else 7) / np.sqrt(12)
    assert relative_error(run(tmp_path / "small.onnx", feeds), run(graph, feeds)) < 1.3 * expected


@pytest.mark.parametrize("bits", [8, 4])
def test_the_portable_form_is_read_alike_by_the_standards_own_reference(tmp_path, rng, bits):
    graph = linear_graph(tmp_path, rng.standard_normal((NUM_IN, NUM_OUT), np.float32))
    write_weight_only(graph, tmp_path / "small.onnx", bits=bits, block=16, form="dequantize", least_weights=0)
    feeds = {"x": rng.standard_normal((4, NUM_IN), np.float32)}
    by_the_standard = run_by_the_standard(tmp_path / "small.onnx", feeds)
    np.testing.assert_allclose(run(tmp_path / "small.onnx", feeds), by_the_standard, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [8, 4])
def test_both_forms_hold_the_same_weights(tmp_path, rng, bits):
    graph = linear_graph(tmp_path, rng.standard_normal((NUM_IN, NUM_OUT), np.float32))
    feeds = {"x": rng.standard_normal((4, NUM_IN), np.float32)}
    found = []
    for form in ("matmul_nbits", "dequantize"):
        write_weight_only(graph, tmp_path / f"{form}.onnx", bits=bits, form=form, least_weights=0)
        found.append(run(tmp_path / f"{form}.onnx", feeds))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)


def test_a_large_layer_takes_half_a_byte_and_its_share_of_a_scale_for_each_weight(tmp_path, rng):
    side = 1024
    ends = [tensor("x", "batch", side)], [tensor("y", "batch", side)]
    weights = {
        "w": rng.standard_normal((side, 2 * side), np.float32),
        "v": rng.standard_normal((2 * side, side), np.float32),
    }
    nodes = [make_node("MatMul", ["x", "w"], ["h"]), make_node("MatMul", ["h", "v"], ["y"])]
    graph = write_graph(tmp_path / "large.onnx", nodes, *ends, weights).path
    write_weight_only(graph, tmp_path / "small.onnx", bits=4, block=32)
    num_weights = 4 * side**2
    assert (tmp_path / "small.onnx.data").stat().st_size == num_weights // 2 + num_weights // 32 * 4


def test_skipped_layers_stay_float32(tmp_path, rng):
    weights = {name: rng.standard_normal((NUM_IN, NUM_IN), np.float32) for name in ("one.weight", "other.weight")}
    nodes = [make_node("MatMul", ["x", "one.weight"], ["h"]), make_node("MatMul", ["h", "other.weight"], ["y"])]
    ends = [tensor("x", "batch", NUM_IN)], [tensor("y", "batch", NUM_IN)]
    graph = write_graph(tmp_path / "two.onnx", nodes, *ends, weights).path
    recipe = write_weight_only(graph, tmp_path / "small.onnx", bits=8, skip=["other"], least_weights=0)
    assert recipe["float32"] == ["other"]
    assert operators(tmp_path / "small.onnx") == ["MatMulNBits", "MatMul"]


def test_activations_rounded_by_rows_leave_samples_independent(tmp_path, rng):
    """Dynamic int8 has one range for the whole batch; accuracy level 4 has one for each block of each row."""
    graph = linear_graph(tmp_path, rng.standard_normal((NUM_IN, NUM_OUT), np.float32))
    write_weight_only(graph, tmp_path / "small.onnx", bits=8, accuracy_level=4, least_weights=0)
    x = rng.standard_normal((2, NUM_IN), np.float32)
    beside_large = np.stack([x[0], x[1] * 100])
    alone, together = (run(tmp_path / "small.onnx", {"x": feed}) for feed in (x, beside_large))
    np.testing.assert_allclose(alone[0], together[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("block", [0, 8, 48])
def test_a_block_that_no_runtime_takes_is_refused(tmp_path, rng, block):
    graph = linear_graph(tmp_path, rng.standard_normal((NUM_IN, NUM_OUT), np.float32))
    with pytest.raises(ConfigError, match=f"power of two from 16 on, got block={block}"):
        write_weight_only(graph, tmp_path / "small.onnx", bits=4, block=block)


def test_a_graph_with_nothing_to_quantize_is_refused(tmp_path, rng):
    graph = linear_graph(tmp_path, rng.standard_normal((NUM_IN, NUM_OUT), np.float32))
    with pytest.raises(ConfigError, match="nothing to quantize"):
        write_weight_only(graph, tmp_path / "small.onnx", bits=8)


@pytest.mark.parametrize(("name", "bits"), [("w8", 8), ("w4", 4)])
@pytest.mark.parametrize("role", ["conditioner", "trunk"])
def test_a_shipped_graph_keeps_the_promise_of_its_bits(tmp_path, rng, role, name, bits):
    graph, feeds = Pack.open("mini").graph(role).path, mini_feeds(role, rng)
    write_weight_only(graph, tmp_path / "small.onnx", bits=bits)
    assert relative_error(run(tmp_path / "small.onnx", feeds), run(graph, feeds)) < PRECISIONS[name].tolerance
