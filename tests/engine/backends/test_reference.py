from __future__ import annotations

import sys

import numpy as np
import pytest

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.backends.reference import Reference
from limbeck.engine import compile
from limbeck.errors import BackendUnavailableError, ConfigError, EngineError
from limbeck.pack import Pack, shipped_packs
from limbeck.precision import FP32
from support.graphs import attention, tensor, write_graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")
pytestmark = pytest.mark.torch

node = onnx.helper.make_node
X, Y = tensor("x", "batch", 3), tensor("y", "batch", 3)


@pytest.mark.parametrize("package", ["torch", "onnx"])
def test_a_missing_package_is_named_with_the_extra_that_has_it(tmp_path, monkeypatch, package):
    graph = write_graph(tmp_path / "graph.onnx", [node("Relu", ["x"], ["y"])], [X], [Y])
    monkeypatch.setitem(sys.modules, package, None)  # Python's own way to say that an import shall fail
    message = rf"the reference backend needs the '{package}' package: pip install 'limbeck\[reference\]'"
    with pytest.raises(BackendUnavailableError, match=message):
        compile(graph, Reference())


@pytest.mark.parametrize(("domain", "shown"), [("", "ai.onnx"), ("com.example", "com.example")])
def test_an_unknown_operator_is_refused_with_its_domain_and_file(tmp_path, domain, shown):
    graph = write_graph(tmp_path / "graph.onnx", [node("Hardmax", ["x"], ["y"], domain=domain, name="last")], [X], [Y])
    model = onnx.load(graph.path)
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx.save(model, graph.path)
    with pytest.raises(EngineError, match=f"does not know {shown}::Hardmax 'last' of .*graph.onnx; it knows: Abs, Add"):
        compile(graph, Reference())


@pytest.mark.parametrize("opset", [17, 24])
def test_an_opset_of_other_meanings_is_refused(tmp_path, opset):
    graph = write_graph(tmp_path / "graph.onnx", [node("Relu", ["x"], ["y"])], [X], [Y], opset=opset)
    with pytest.raises(EngineError, match=f"uses opset {opset}; the reference backend computes 18 to 23"):
        compile(graph, Reference())


def test_a_missing_attribute_is_refused(tmp_path):
    known = node("Split", ["x"], ["y"])
    graph = write_graph(tmp_path / "graph.onnx", [known], [X], [Y])
    with compile(graph, Reference()) as engine, pytest.raises(EngineError, match="neither split nor num_outputs"):
        engine.run({"x": np.zeros((2, 3), np.float32)})


def test_an_output_that_is_not_computed_is_refused(tmp_path):
    graph = write_graph(
        tmp_path / "graph.onnx",
        [node("MaxPool", ["x"], ["y", "places"], kernel_shape=[2])],
        [tensor("x", 1, 1, 4)],
        [tensor("y", 1, 1, 3), tensor("places", 1, 1, 3, dtype="int64")],
    )
    with (
        compile(graph, Reference()) as engine,
        pytest.raises(EngineError, match="2 outputs are asked for, 1 are known"),
    ):
        engine.run({"x": np.zeros((1, 1, 4), np.float32)})


def test_a_dtype_that_numpy_lacks_is_refused(tmp_path):
    graph = write_graph(tmp_path / "graph.onnx", [node("Relu", ["x"], ["y"])], [X], [Y])
    model = onnx.load(graph.path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.BFLOAT16
    onnx.save(model, graph.path)
    with pytest.raises(EngineError, match=r"'x' of .* is no dense tensor of known rank and of a dtype"):
        compile(graph, Reference())


def test_sizes_that_do_not_fit_are_refused_at_the_node(tmp_path):
    x, other = tensor("x", "batch", "width"), tensor("other", "batch", "height")
    graph = write_graph(tmp_path / "graph.onnx", [node("Add", ["x", "other"], ["y"], name="join")], [x, other], [x])
    with (
        compile(graph, Reference()) as engine,
        pytest.raises(EngineError, match=r"ai.onnx::Add 'join' of .*graph.onnx"),
    ):
        engine.run({"x": np.zeros((2, 3), np.float32), "other": np.zeros((2, 4), np.float32)})


def test_float64_rounds_nothing_between_input_and_output(tmp_path):
    """1 + 2^-40 - 1 is 2^-40; float32 loses it, a cast to float16 all the more."""
    small = np.array(2.0**-40, np.float32)
    graph = write_graph(
        tmp_path / "graph.onnx",
        [
            node("Add", ["x", "small"], ["sum"]),
            node("Cast", ["sum"], ["half"], to=onnx.TensorProto.FLOAT16),
            node("Cast", ["half"], ["back"], to=onnx.TensorProto.FLOAT),
            node("Constant", [], ["one"], value_float=1.0),
            node("Sub", ["back", "one"], ["y"]),
        ],
        [X],
        [Y],
        {"small": small},
    )
    ones = np.ones((1, 3), np.float32)
    with compile(graph, Reference(dtype="float64")) as exact, compile(graph, Reference()) as rounded:
        np.testing.assert_array_equal(exact.run({"x": ones})["y"], np.full((1, 3), small))
        np.testing.assert_array_equal(rounded.run({"x": ones})["y"], np.zeros((1, 3)))


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ConfigError, match="dtype None or 'float64', got dtype='float16'"):
        Reference(dtype="float16")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"attention": "flash"}, "attention 'sdpa' or 'math' or 'xformers', got attention='flash'"),
        ({"linear": "int4"}, "linear 'float32' or .*, got linear='int4'"),
        ({"device": "tpu"}, "device 'cpu' or 'cuda', got device='tpu'"),
        ({"attention": "xformers"}, "attention='xformers' on device='cuda' only"),
        ({"dtype": "float64", "linear": "bitsandbytes-nf4"}, "cannot compute linear='bitsandbytes-nf4' in float64"),
    ],
    ids=["attention", "linear", "device", "xformers on the CPU", "quantized float64"],
)
def test_a_setting_that_cannot_work_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        Reference(**wrong)


def test_attention_by_products_is_attention(tmp_path, rng):
    known = attention(tmp_path)
    feeds = known.feeds(rng, 2)
    with compile(known.graph, Reference(attention="math")) as engine:
        np.testing.assert_allclose(engine.run(feeds)["y"], known.answer(feeds)["y"], rtol=1e-4, atol=1e-6)


def test_cuda_without_a_device_is_refused(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(BackendUnavailableError, match=r"asked for device='cuda', but torch .* finds no CUDA device"):
        compile(attention(tmp_path).graph, Reference(device="cuda"))


def large_linear(folder, *, transposed=False):
    """y = x W + 1, with weights enough to be quantized."""
    weight = np.random.default_rng(0).standard_normal((128, 64)).astype(np.float32)
    graph = write_graph(
        folder / "large.onnx",
        [node("Gemm", ["x", "w", "b"], ["y"], transB=int(transposed))],
        [tensor("x", "batch", 128)],
        [tensor("y", "batch", 64)],
        {"w": weight.T.copy() if transposed else weight, "b": np.ones(64, np.float32)},
    )
    return graph, weight


@pytest.mark.parametrize("linear", ["bitsandbytes-int8", "bitsandbytes-nf4"])
def test_a_missing_bitsandbytes_is_named(tmp_path, monkeypatch, linear):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(BackendUnavailableError, match=f"linear='{linear}' needs the 'bitsandbytes' package: pip inst"):
        compile(large_linear(tmp_path)[0], Reference(linear=linear))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("linear", "low", "high"), [("bitsandbytes-int8", 1e-3, 0.02), ("bitsandbytes-nf4", 0.02, 0.15)]
)
def test_bitsandbytes_rounds_weights_as_its_bits_allow(tmp_path, rng, linear, low, high, transposed):
    pytest.importorskip("bitsandbytes")
    graph, weight = large_linear(tmp_path, transposed=transposed)
    x = rng.standard_normal((4, 128)).astype(np.float32)
    exact = x @ weight + 1
    with compile(graph, Reference(linear=linear)) as engine:
        error = np.linalg.norm(engine.run({"x": x})["y"] - exact) / np.linalg.norm(exact)
    assert low < error < high


def test_bfloat16_inside_a_graph_rounds_to_eight_bits(tmp_path):
    """1 + 2^-7 is the next number after 1; a quarter of the way there rounds to 1."""
    graph = write_graph(
        tmp_path / "graph.onnx",
        [
            node("Cast", ["x"], ["half"], to=onnx.TensorProto.BFLOAT16),
            node("Cast", ["half"], ["y"], to=onnx.TensorProto.FLOAT),
        ],
        [X],
        [Y],
    )
    x = np.array([[1 + 2**-7, 1 + 2**-9, 1]], np.float32)
    with compile(graph, Reference()) as engine:
        np.testing.assert_array_equal(engine.run({"x": x})["y"], [[1 + 2**-7, 1, 1]])


def shipped_graphs():
    return [
        pytest.param(name, role, id=f"{name} {role}")
        for name, folder in shipped_packs().items()
        for role in Pack.open(folder).manifest.graphs
    ]


@pytest.mark.parametrize(("name", "role"), shipped_graphs())
def test_onnxruntime_stays_within_float32_of_the_truth_on_every_shipped_graph(name, role, rng):
    graph = Pack.open(name).graph(role)
    feeds = {spec.name: example(rng, spec) for spec in graph.spec.inputs}
    with compile(graph, OnnxRuntime(threads=1)) as runtime, compile(graph, Reference(dtype="float64")) as truth:
        found, exact = runtime.run(feeds), truth.run(feeds)
    for output, expected in exact.items():
        assert np.linalg.norm(found[output] - expected) <= FP32.tolerance * np.linalg.norm(expected)


def example(rng, spec):
    """Normal numbers, or small ids; free sizes are 2 samples of 8 latent or 64 image pixels."""
    sizes = {"batch": 2, "height": 64, "width": 64, "latent_height": 8, "latent_width": 8, "classes": 3}
    shape = [size if isinstance(size, int) else sizes[size] for size in spec.shape]
    return rng.integers(0, 8, shape) if spec.dtype == "int64" else rng.standard_normal(shape).astype(spec.dtype)
