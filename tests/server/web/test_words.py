"""Figures and events in words."""

from __future__ import annotations

import pytest

from limbeck_server.store.records import JobEvent
from limbeck_server.web.words import cut, duration, moment, size, title, told


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (-3.0, "–"),
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (90, "2 min"),
        (3600, "1 h 0 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds, words):
    assert duration(seconds) == words


def test_nothing_known_is_a_dash():
    assert (size(0), size(None), moment(None)) == ("–", "–", "–")


def test_a_moment_is_in_utc_whatever_the_machine_thinks():
    assert moment(0) == "1970-01-01 00:00:00 UTC"


def test_a_long_text_ends_in_a_mark_that_something_is_missing():
    assert cut("x" * 10, 4) == "xxxx…"


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("distill", {"method": "d4m", "ipc": 3, "pack": "mini"}, "d4m, 3 per class, pack mini"),
        ("evaluate", {"distilled_sets": ["a"], "protocol": "hard"}, "evaluate 1 set by hard"),
        ("evaluate", {"distilled_sets": ["a", "b"], "protocol": "probe"}, "evaluate 2 sets by probe"),
        ("distill", {}, "?, ? per class, pack ?"),
    ],
)
def test_a_job_has_a_title(kind, spec, words):
    assert title(kind, spec) == words


@pytest.mark.parametrize(
    ("kind", "detail", "words"),
    [
        ("state", {"state": "running", "waiting_for": "", "failure": None}, "is running"),
        ("state", {"state": "failed", "failure": {"reason": "DATA_ERROR", "message": "m"}}, "is failed: DATA_ERROR"),
        ("state", {"state": "running", "waiting_for": "space", "failure": None}, "is running, waits: space"),
        ("out_of_memory", {"was": 16, "bucket": 8, "reason": "r"}, "out of memory: bucket 16 becomes 8"),
        ("unit", {"index": 2, "finished_units": 3, "num_units": 4}, "unit 2 finished (3 of 4)"),
        ("of a later limbeck", {"x": 1}, 'of a later limbeck {"x": 1}'),
        ("unit", {"unexpected": 1}, "unit {'unexpected': 1}"),
    ],
)
def test_an_event_is_a_sentence_also_when_it_is_not_known(kind, detail, words):
    assert told(JobEvent("j", 1, 0.0, kind, detail)) == words
