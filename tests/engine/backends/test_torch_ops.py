"""Every operator against ONNX's own node tests, which compute their answers in NumPy."""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import numpy as np
import pytest

from limbeck.backends.base import Graph, GraphSpec, TensorSpec
from limbeck.backends.reference import Reference
from limbeck.engine import compile
from limbeck.errors import EngineError
from support.graphs import tensor, write_graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from limbeck.backends.torch_ops import OPERATORS  # noqa: E402 - needs torch

STANDARD = sorted(name for domain, name in OPERATORS if domain == "")


@cache
def published_cases():
    """ONNX's cases of one node, by operator. Opset 24 has another `Attention`; no other operator of ours changed."""
    from onnx.backend.test.case.node import collect_testcases

    cases = defaultdict(list)
    for case in collect_testcases(None):
        (opset,) = {item.version for item in case.model.opset_import if item.domain == ""} or {0}
        operators = {node.op_type for node in case.model.graph.node}
        if len(case.model.graph.node) == 1 and not (opset > 23 and "Attention" in operators):
            case.model.opset_import[0].version = 23
            cases[operators.pop()].append(case)
    return cases


def described(path, model):
    """The model's file and the spec that it gives itself, or None if that has other things than tensors in it."""

    def spec(value):
        kind = value.type.tensor_type
        name = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
        return TensorSpec(value.name, name, tuple(size.dim_value or size.dim_param for size in kind.shape.dim))

    onnx.save(model, path)
    ends = (*model.graph.input, *model.graph.output)
    if not all(value.type.tensor_type.elem_type for value in ends):
        return None
    return Graph(path, GraphSpec(*(tuple(map(spec, end)) for end in (model.graph.input, model.graph.output))), "0")


def arrays(values):
    return [onnx.numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else np.asarray(v) for v in values]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # ONNX's own arithmetic overflows on purpose
@pytest.mark.parametrize("operator", STANDARD)
def test_an_operator_computes_what_onnx_publishes_or_is_refused(operator, tmp_path):
    num_computed = 0
    for case in published_cases()[operator]:
        graph = described(tmp_path / "case.onnx", case.model)
        if graph is None:
            continue
        for inputs, outputs in case.data_sets:
            feeds = dict(zip((spec.name for spec in graph.spec.inputs), arrays(inputs), strict=True))
            try:
                found = Reference().compile(graph).infer(feeds)
            except EngineError:
                continue
            for spec, expected in zip(graph.spec.outputs, arrays(outputs), strict=True):
                rtol = max(case.rtol, 2e-3) if expected.dtype == np.float16 else case.rtol
                assert found[spec.name].shape == expected.shape, case.name
                np.testing.assert_allclose(found[spec.name], expected, rtol, max(case.atol, 1e-6), err_msg=case.name)
            num_computed += 1
    assert num_computed


IMAGE = {"x": (1, 4, 6, 6)}
TOKENS = {"q": (1, 3, 4), "k": (1, 3, 4), "v": (1, 3, 4)}


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "message"),
    [
        ("MaxPool", IMAGE, {"kernel_shape": [2, 2], "ceil_mode": 1}, "ceil_mode is 1; known: 0"),
        ("MaxPool", IMAGE, {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}, "auto_pad is SAME_UPPER"),
        ("AveragePool", IMAGE, {"kernel_shape": [2, 2], "dilations": [2, 2]}, r"dilations is \(2, 2\)"),
        ("ReduceSum", IMAGE, {"noop_with_empty_axes": 1}, "noop_with_empty_axes"),
        ("ArgMax", IMAGE, {"select_last_index": 1}, "select_last_index is 1"),
        ("LayerNormalization", {**IMAGE, "scale": (6,)}, {"stash_type": 11}, "stash_type is 11"),
        ("Attention", TOKENS, {"q_num_heads": 2, "kv_num_heads": 2, "softcap": 2.0}, "softcap is 2.0"),
        ("Attention", TOKENS, {"q_num_heads": 2, "kv_num_heads": 2, "softmax_precision": 10}, "softmax_precision"),
        ("Attention", {**TOKENS, "mask": (3, 3)}, {"q_num_heads": 2, "kv_num_heads": 2, "is_causal": 1}, "is_causal"),
        ("MultiHeadAttention", TOKENS, {"num_heads": 2, "unidirectional": 1}, "unidirectional is 1"),
        ("MultiHeadAttention", TOKENS, {"num_heads": 2, "mask_filter_value": -1.0}, "mask_filter_value"),
        ("MultiHeadAttention", {**TOKENS, "bias": (12,)}, {"num_heads": 2}, "the input bias is given; known: absent"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(operator, inputs, attributes, message, tmp_path, rng):
    domain = "com.microsoft" if operator == "MultiHeadAttention" else ""
    graph = write_graph(
        tmp_path / "graph.onnx",
        [onnx.helper.make_node(operator, list(inputs), ["y"], domain=domain, **attributes)],
        [tensor(name, *shape) for name, shape in inputs.items()],
        [tensor("y", *["?"] * (3 if "q" in inputs else 4), dtype="int64" if operator == "ArgMax" else "float32")],
    )
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in inputs.items()}
    with pytest.raises(EngineError, match=f"{operator}.*{message}"), compile(graph, Reference()) as engine:
        engine.run(feeds)
