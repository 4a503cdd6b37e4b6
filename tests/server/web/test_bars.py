"""The memory bar: parts and measures on one scale."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("aiohttp", reason="the server extra is not installed")

from limbeck_server.web.bars import memory_bar

AMOUNT = st.integers(1, 2**40)


def test_nothing_known_is_no_bar():
    assert memory_bar(None, 0) is None


def test_without_a_plan_what_was_measured_fills_the_bar():
    bar = memory_bar(None, 500)
    assert (bar.measured_width, bar.planned_nbytes, bar.budget_nbytes) == (100, 0, 0)


@given(parts=st.dictionaries(st.text(min_size=1), AMOUNT, min_size=1, max_size=9), measured=AMOUNT, budget=AMOUNT)
def test_parts_lie_side_by_side_and_nothing_leaves_the_bar(parts, measured, budget):
    peak = sum(parts.values())
    bar = memory_bar({"peak_nbytes": peak, "parts": parts, "budget_nbytes": budget}, measured)
    ends = [part.start + part.width for part in bar.planned]
    assert [part.start for part in bar.planned] == pytest.approx([0, *ends[:-1]])
    assert max(*ends, bar.measured_width, bar.budget_at) <= 100.001
    assert {part.name: part.nbytes for part in bar.planned} == parts
    assert ends[-1] / bar.measured_width == pytest.approx(peak / measured)
