from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.backends.reference import Reference
from limbeck.engine import compile
from limbeck.errors import EngineError
from limbeck.pack import Pack
from support.graphs import attention, tensor, write_graph

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.torch

from limbeck.backends.tensorrt_graph import standard_model  # noqa: E402 - after the skip

node = onnx.helper.make_node


def rewritten(graph, folder):
    """The graph that TensorRT's parser gets, in a file of its own."""
    folder.mkdir()
    path = folder / "model.onnx"
    for weights in graph.path.parent.glob("*.data"):
        shutil.copyfile(weights, folder / weights.name)
    onnx.save(standard_model(graph.path), path)
    onnx.checker.check_model(path, full_check=True)
    return replace(graph, path=path)


def multi_head(folder, *, opset=23, tokens="tokens", **settings):
    names = ("query", "key", "value")
    settings = {"num_heads": 2} | settings
    return write_graph(
        folder / "attention.onnx",
        [node("MultiHeadAttention", names, ["y"], domain="com.microsoft", **settings)],
        [tensor("query", "batch", tokens, 6), tensor("key", "batch", "keys", 6), tensor("value", "batch", "keys", 6)],
        [tensor("y", "batch", tokens, 6)],
        opset=opset,
    )


@pytest.mark.parametrize(("opset", "operators"), [(23, {"Attention"}), (20, {"MatMul", "Softmax"})])
def test_attention_becomes_standard_operators(tmp_path, opset, operators):
    model = standard_model(multi_head(tmp_path, opset=opset).path)
    assert {part.domain for part in model.graph.node} == {""}
    assert operators <= {part.op_type for part in model.graph.node}


@pytest.mark.parametrize("opset", [23, 20])
@pytest.mark.parametrize("settings", [{}, {"scale": 0.3}], ids=str)
def test_the_rewritten_attention_gives_what_onnx_runtime_gives_for_its_own(tmp_path, rng, opset, settings):
    """Queries and keys of different numbers, as in cross attention."""
    graph = multi_head(tmp_path, opset=opset, **settings)
    sizes = {"query": 5, "key": 7, "value": 7}
    feeds = {name: rng.standard_normal((3, tokens, 6)).astype(np.float32) for name, tokens in sizes.items()}
    with (
        compile(graph, OnnxRuntime()) as original,
        compile(rewritten(graph, tmp_path / "new"), OnnxRuntime()) as standard,
    ):
        np.testing.assert_allclose(standard.run(feeds)["y"], original.run(feeds)["y"], rtol=1e-4, atol=1e-6)


def test_causal_attention_stays_causal(tmp_path, rng):
    graph = rewritten(multi_head(tmp_path, unidirectional=1), tmp_path / "new")
    feeds = {name: rng.standard_normal((1, 4, 6)).astype(np.float32) for name in ("query", "key", "value")}
    later = {name: array.copy() for name, array in feeds.items()}
    later["key"][:, 3], later["value"][:, 3] = 9, 9
    with compile(graph, OnnxRuntime()) as engine:
        np.testing.assert_array_equal(engine.run(feeds)["y"][:, :3], engine.run(later)["y"][:, :3])


def test_causal_attention_of_an_old_opset_is_refused(tmp_path):
    with pytest.raises(EngineError, match="looks back only, which limbeck translates for TensorRT from opset 23 on"):
        standard_model(multi_head(tmp_path, opset=20, unidirectional=1).path)


def test_attention_with_a_bias_is_refused(tmp_path):
    names = ("query", "key", "value", "bias")
    graph = write_graph(
        tmp_path / "biased.onnx",
        [node("MultiHeadAttention", names, ["y"], domain="com.microsoft", num_heads=2, name="first")],
        [*(tensor(name, "batch", "tokens", 6) for name in names[:3]), tensor("bias", 18)],
        [tensor("y", "batch", "tokens", 6)],
    )
    with pytest.raises(EngineError, match=r"attention 'first' of .*biased\.onnx has a bias"):
        standard_model(graph.path)


def test_a_trunk_gives_the_same_after_rewriting(tmp_path, rng):
    pytest.importorskip("torch")
    graph = Pack.open("mini").graph("trunk")
    feeds = {
        spec.name: rng.standard_normal([2 if size == "batch" else size for size in spec.shape]).astype(np.float32)
        for spec in graph.spec.inputs
    }
    with compile(graph, Reference()) as original, compile(rewritten(graph, tmp_path / "new"), OnnxRuntime()) as engine:
        exact, found = original.run(feeds)["prediction"], engine.run(feeds)["prediction"]
    assert np.linalg.norm(found - exact) <= 1e-5 * np.linalg.norm(exact)


def test_weights_beside_the_file_are_not_read(tmp_path):
    graph = attention(tmp_path).graph
    model = onnx.load(graph.path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1000, np.float32), "weight"))
    onnx.save(model, graph.path, save_as_external_data=True, location="weights", size_threshold=0)
    (tmp_path / "weights").unlink()
    assert standard_model(graph.path).graph.initializer[0].external_data


def test_a_file_that_is_no_graph_is_refused_by_name(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"this is no graph" * 8)
    with pytest.raises(EngineError, match=r"cannot read .*model\.onnx"):
        standard_model(tmp_path / "model.onnx")
