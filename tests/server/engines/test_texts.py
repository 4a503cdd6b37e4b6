"""Texts as one run of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck_server.engines.texts import join_texts, split_texts


@given(st.lists(st.binary(max_size=20)))
def test_texts_come_back_as_they_were(texts: list[bytes]) -> None:
    assert list(split_texts(join_texts(texts))) == texts


@given(st.lists(st.binary(max_size=20), min_size=1), st.data())
def test_a_text_that_is_cut_off_is_refused_or_missing(texts: list[bytes], data: st.DataObject) -> None:
    whole = join_texts(texts)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        found = list(split_texts(cut))
    except ValueError:
        return
    assert len(found) < len(texts)


def test_a_length_beyond_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match="the text at byte 5 of 10 is cut off"):
        list(split_texts(b"\x01\x00\x00\x00a\xff\xff\xff\xffb"))
