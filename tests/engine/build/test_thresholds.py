from __future__ import annotations

from typing import get_args

import pytest

from limbeck.build.thresholds import THRESHOLDS, Metric


def test_every_metric_has_a_threshold_with_a_meaning_and_a_reason() -> None:
    assert set(THRESHOLDS) == set(get_args(Metric))
    assert all(one.meaning and one.reason for one in THRESHOLDS.values())


@pytest.mark.parametrize("name", THRESHOLDS)
def test_what_is_not_a_number_is_within_no_threshold(name: Metric) -> None:
    assert not THRESHOLDS[name].holds(float("nan"))


@pytest.mark.parametrize("name", THRESHOLDS)
def test_a_candidate_that_equals_its_reference_is_within_every_threshold(name: Metric) -> None:
    perfect = 1.0 if THRESHOLDS[name].bound == "at least" else 0.0
    assert THRESHOLDS[name].holds(perfect)
