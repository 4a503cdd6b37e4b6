"""JSON through protobuf's Struct and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.wire.refusal import RequestError
from limbeck_server.wire.structs import json_of, struct_of

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=9,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_an_object_comes_back_equal(data):
    assert json_of(struct_of(data), "settings") == data


def test_whole_numbers_come_back_as_integers():
    assert [type(one) for one in json_of(struct_of({"a": [4, 4.0, 4.5, True]}), "s")["a"]] == [int, int, float, bool]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused_by_its_path(number):
    with pytest.raises(RequestError, match="finite") as raised:
        json_of(struct_of({"a": [{"b": number}]}), "distill.settings")
    assert raised.value.violations[0].field == "distill.settings.a.0.b"
