from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from limbeck.build.effort import choose_questions
from limbeck.pack import Pack

MINI = Pack.open("mini").manifest


@given(st.floats(1e-4, 10), st.floats(1, 1e5), st.floats(1, 10))
def test_more_time_never_asks_less(row_seconds: float, seconds: float, factor: float) -> None:
    less = choose_questions(MINI, row_seconds=row_seconds, seconds=seconds)
    more = choose_questions(MINI, row_seconds=row_seconds, seconds=seconds * factor)
    assert less is not None
    assert more is not None
    assert less.denoiser_rows <= more.denoiser_rows


def test_what_is_asked_fits_the_time_if_anything_does() -> None:
    asked = choose_questions(MINI, row_seconds=0.1, seconds=100)
    assert asked is not None
    assert 0.1 * asked.denoiser_rows <= 100


def test_a_slow_network_is_asked_the_least_rather_than_nothing() -> None:
    slow = choose_questions(MINI, row_seconds=1e6, seconds=1)
    quick = choose_questions(MINI, row_seconds=0, seconds=1, quick=True)
    assert slow == quick
    assert slow is not None


def test_a_pack_without_a_codec_cannot_be_asked() -> None:
    alone = MINI.model_copy(update={"codec": None})
    assert choose_questions(alone, row_seconds=0.1) is None


@given(st.floats(1e-4, 10), st.integers(1, 60))
def test_every_walk_has_the_steps_that_are_needed(row_seconds: float, least_steps: int) -> None:
    asked = choose_questions(MINI, row_seconds=row_seconds, least_steps=least_steps)
    assert asked is not None
    assert min(asked.steps, asked.inversion_steps) >= least_steps
