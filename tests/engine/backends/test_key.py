from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.backends.base import Graph, GraphSpec
from limbeck.backends.key import EngineKey, canonical_json, cpu_device, digest_of, fingerprint
from limbeck.backends.null import Null
from limbeck.backends.onnxruntime import OnnxRuntime
from support.graphs import tensor

SPEC = GraphSpec((tensor("x", "batch", 2),), (tensor("y", "batch", 2),))
GRAPH = Graph(Path("trunk/model.onnx"), SPEC, digest="0" * 64)
KEY = EngineKey.of(GRAPH, Null())

texts = st.text(max_size=3)
keys = st.builds(
    EngineKey,
    graph=texts,
    recipe=texts,
    shapes=st.lists(texts, max_size=2).map(tuple),
    backend=texts,
    fingerprint=texts,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-1, 1) | texts,
    lambda part: st.lists(part, max_size=2) | st.dictionaries(texts, part, max_size=2),
    max_leaves=4,
)


@given(keys, keys)
def test_two_keys_have_one_digest_just_when_all_their_fields_are_equal(key, other):
    assert (key.digest == other.digest) == (key == other)


@given(keys, st.sampled_from([field.name for field in fields(EngineKey)]), texts)
def test_another_value_in_any_one_field_is_another_digest(key, name, text):
    value = (text,) if name == "shapes" else text
    assert (replace(key, **{name: value}).digest == key.digest) == (getattr(key, name) == value)


@given(values, values)
def test_two_settings_have_one_fingerprint_just_when_they_are_one_json_value(value, other):
    def of(setting):
        return fingerprint(versions={}, settings={"x": setting}, device="cpu")

    assert (of(value) == of(other)) == (canonical_json(value) == canonical_json(other))


@pytest.mark.parametrize("change", [{"versions": {"runtime": "1.1"}}, {"settings": {"threads": 2}}, {"device": "gpu"}])
def test_version_settings_and_device_are_each_in_the_fingerprint(change):
    same = {"versions": {"runtime": "1.0"}, "settings": {"threads": 1}, "device": "cpu"}
    assert fingerprint(**(same | change)) != fingerprint(**same)


def test_the_order_of_fields_does_not_matter():
    assert digest_of(a=1, b=2) == digest_of(b=2, a=1)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "1" * 64},
        {"recipe": '{"precision":"int8"}'},
        {"spec": replace(SPEC, inputs=(tensor("x", 4, 2),))},
        {"spec": replace(SPEC, outputs=(tensor("y", "batch", "width"),))},
    ],
    ids=["content", "recipe", "a fixed input size", "a free output size"],
)
def test_what_a_graph_is_changes_the_key(change):
    assert EngineKey.of(replace(GRAPH, **change), Null()) != KEY


def test_where_the_file_lies_does_not_change_the_key():
    assert EngineKey.of(replace(GRAPH, path=Path("elsewhere.onnx")), Null()) == KEY


@pytest.mark.parametrize("other", [Null({"height": 1}), OnnxRuntime()])
def test_another_backend_or_setting_is_another_key(other):
    assert EngineKey.of(GRAPH, other) != KEY


def test_a_key_is_shown_as_its_first_16_digits():
    assert str(KEY) == KEY.digest[:16]


def test_the_cpu_is_told_by_its_architecture():
    import platform

    assert cpu_device().startswith(platform.machine())
