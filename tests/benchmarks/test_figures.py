from __future__ import annotations

import numpy as np
import pytest
from benchmarks.harness.figures import gflops, heats, relative_error, spread
from hypothesis import given
from hypothesis import strategies as st


def test_the_median_of_an_even_number_of_runs_lies_between_the_middle_two() -> None:
    assert spread([4.0, 1.0, 2.0, 3.0]).median == 2.5


def test_the_quartiles_of_five_runs_are_the_second_and_the_fourth() -> None:
    found = spread([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (found.lower, found.upper) == (2.0, 4.0)


def test_the_best_run_is_the_shortest() -> None:
    assert spread([0.3, 0.1, 0.2]).best == 0.1


def test_the_relative_error_of_a_scaled_output_is_the_scale_less_one() -> None:
    truth = np.random.default_rng(0).standard_normal((3, 4))
    assert relative_error(1.25 * truth, truth) == pytest.approx(0.25)


def test_the_relative_error_sums_in_double_precision() -> None:
    truth = np.full(10_000_000, 0.1, np.float32)  # in float32 the sum of squares is off by percents
    assert relative_error(truth + np.float32(0.01), truth) == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_output_that_is_not_finite_has_no_error_that_could_pass(bad: float) -> None:
    assert np.isnan(relative_error(np.array([1.0, bad]), np.ones(2)))


def test_a_rate_is_operations_over_seconds() -> None:
    assert gflops(2e9, 0.5) == 4.0


def test_contestants_that_fit_share_a_heat() -> None:
    assert heats({"anchor": 2.0, "a": 3.0, "b": 4.0}, anchor="anchor", room_gib=10) == [["anchor", "a", "b"]]


def test_one_that_does_not_fit_beside_the_others_runs_in_the_next_heat() -> None:
    found = heats({"anchor": 2.0, "a": 5.0, "b": 4.0, "c": 1.0}, anchor="anchor", room_gib=10)
    assert found == [["anchor", "a", "c"], ["anchor", "b"]]


def test_one_too_large_for_the_machine_still_gets_its_try() -> None:
    assert heats({"anchor": 1.0, "huge": 99.0}, anchor="anchor", room_gib=10) == [["anchor", "huge"]]


def test_the_reference_alone_is_a_heat() -> None:
    assert heats({"anchor": 1.0}, anchor="anchor", room_gib=10) == [["anchor"]]


@given(st.lists(st.floats(0.1, 30), max_size=12), st.floats(1, 40))
def test_everyone_runs_once_and_the_reference_in_every_heat(sizes: list[float], room: float) -> None:
    expected = {"anchor": 1.0, **{f"c{number}": size for number, size in enumerate(sizes)}}
    found = heats(expected, anchor="anchor", room_gib=room)
    assert all(members[0] == "anchor" for members in found)
    assert sorted(name for members in found for name in members[1:]) == sorted(expected.keys() - {"anchor"})


@given(st.lists(st.floats(0.1, 5), max_size=12))
def test_no_heat_of_several_takes_more_than_there_is(sizes: list[float]) -> None:
    expected = {"anchor": 1.0, **{f"c{number}": size for number, size in enumerate(sizes)}}
    for members in heats(expected, anchor="anchor", room_gib=8.0):
        assert sum(expected[name] for name in members) <= 8.0 + 1e-9
