from __future__ import annotations

import sys
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limbeck.backends.canonical import canonical_digest
from limbeck.errors import BackendUnavailableError, EngineError
from limbeck.pack import Pack

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.torch

node = onnx.helper.make_node


def model(*, weight=1.0, alpha=0.1, width=4, batch="batch", opset=23, crossed=False, kind="LeakyRelu"):
    """y = LeakyRelu(x w) + LeakyRelu(x v), and a branch with a graph of its own."""
    value = onnx.helper.make_tensor_value_info
    one, other = ("left", "right") if not crossed else ("right", "left")
    branches = {
        f"{name}_branch": onnx.helper.make_graph(
            [node(operator, ["sum"], [f"{name}_out"])],
            name,
            [],
            [value(f"{name}_out", onnx.TensorProto.FLOAT, None)],
        )
        for name, operator in (("then", "Identity"), ("else", "Neg"))
    }
    nodes = [
        node("MatMul", ["x", "w"], ["left"], name="first"),
        node("MatMul", ["x", "v"], ["right"], name="second"),
        node(kind, [one], ["a"], name="third", alpha=alpha),
        node("Sub", ["a", other], ["sum"], name="fourth"),
        node("If", ["positive"], ["y"], name="fifth", **branches),
    ]
    weights = {
        "w": np.full((width, 2), weight, np.float32),
        "v": np.full((width, 2), 2, np.float32),
        "positive": np.array(True),
    }
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [value("x", onnx.TensorProto.FLOAT, [batch, width])],
        [value("y", onnx.TensorProto.FLOAT, [batch, 2])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)


def digest(proto, folder, name="model.onnx", **options):
    onnx.save(proto, folder / name, **options)
    return canonical_digest(folder / name)


def renamed(proto, prefix):
    """Other names for all nodes, weights and inner values."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    kept = {value.name for value in (*result.graph.input, *result.graph.output)}
    fresh = (f"{prefix}{number}" for number in count())
    names = {}

    def rename(name):
        return name if name in kept or not name else names.setdefault(name, next(fresh))

    def walk(graph):
        for tensor in graph.initializer:
            tensor.name = rename(tensor.name)
        for part in graph.node:
            part.name = next(fresh)
            part.input[:] = [rename(name) for name in part.input]
            part.output[:] = [rename(name) for name in part.output]
            for item in part.attribute:
                if item.type == onnx.AttributeProto.GRAPH:
                    item.g.name = next(fresh)
                    walk(item.g)
        if graph is not result.graph:
            for value in graph.output:
                value.name = rename(value.name)

    walk(result.graph)
    return result


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(prefix=st.text("abcxyz_/", min_size=1, max_size=4))
def test_other_names_of_nodes_and_values_are_the_same_digest(tmp_path, prefix):
    assert digest(renamed(model(), f"new {prefix}"), tmp_path) == digest(model(), tmp_path)


def test_the_file_name_does_not_matter(tmp_path):
    assert digest(model(), tmp_path, "one.onnx") == digest(model(), tmp_path, "two.onnx")


def test_nodes_in_another_order_that_is_as_good_are_the_same_digest(tmp_path):
    other = model()
    first, second = other.graph.node[0], other.graph.node[1]
    swapped = [second, first, *other.graph.node[2:]]
    nodes = [onnx.NodeProto.FromString(part.SerializeToString()) for part in swapped]
    del other.graph.node[:]
    other.graph.node.extend(nodes)
    assert digest(other, tmp_path) == digest(model(), tmp_path)


def test_weights_beside_the_file_are_the_same_digest(tmp_path):
    beside = digest(model(), tmp_path, save_as_external_data=True, location="weights", size_threshold=0)
    assert beside == digest(model(), tmp_path)


def test_documentation_does_not_matter(tmp_path):
    other = model()
    other.doc_string = other.graph.node[0].doc_string = "how it was made"
    other.metadata_props.add(key="date", value="today")
    assert digest(other, tmp_path) == digest(model(), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"weight": 1.5},
        {"alpha": 0.2},
        {"width": 5},
        {"batch": 3},
        {"batch": "samples"},
        {"opset": 22},
        {"crossed": True},
        {"kind": "Elu"},
    ],
    ids=str,
)
def test_any_other_content_is_another_digest(tmp_path, change):
    assert digest(model(**change), tmp_path) != digest(model(), tmp_path)


def test_another_branch_of_a_condition_is_another_digest(tmp_path):
    other = model()
    branch = next(item for item in other.graph.node[-1].attribute if item.name == "else_branch")
    branch.g.node[0].op_type = "Abs"
    assert digest(other, tmp_path) != digest(model(), tmp_path)


def test_another_weight_beside_the_file_is_another_digest(tmp_path):
    beside = {"save_as_external_data": True, "location": "weights", "size_threshold": 0}
    before = digest(model(), tmp_path, **beside)
    content = bytearray((tmp_path / "weights").read_bytes())
    content[0] ^= 1
    (tmp_path / "weights").write_bytes(content)
    assert canonical_digest(tmp_path / "model.onnx") != before


def test_an_input_by_another_name_is_another_digest(tmp_path):
    other = model()
    other.graph.input[0].name = other.graph.node[0].input[0] = other.graph.node[1].input[0] = "pixels"
    assert digest(other, tmp_path) != digest(model(), tmp_path)


def test_the_graphs_of_a_pack_all_differ():
    pack = Pack.open("mini")
    digests = {canonical_digest(pack.graph(role).path) for role in pack.manifest.graphs}
    assert len(digests) == len(pack.manifest.graphs)


def test_a_file_that_is_no_graph_is_refused_by_name(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"this is no graph" * 8)
    with pytest.raises(EngineError, match=r"cannot read .*model\.onnx"):
        canonical_digest(tmp_path / "model.onnx")


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'limbeck\[export\]'"):
        canonical_digest(tmp_path / "model.onnx")
