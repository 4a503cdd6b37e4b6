"""The contest with real processes and contestants that need nothing but NumPy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from benchmarks.harness.contest import Case, Entry, run_contest
from numpy.typing import NDArray

pytestmark = pytest.mark.skipif(
    "not __import__('sys').platform.startswith('linux')", reason="memory is read from /proc"
)


class Sleeper:
    """Adds one, after a while; `off` is an error to be found."""

    packages: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, seconds: float, off: float = 0.0, broken: bool = False) -> None:
        self._seconds, self._off, self._broken = seconds, off, broken

    def load(self) -> None:
        if self._broken:
            raise RuntimeError("has no weights")

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        print("libraries print")
        time.sleep(self._seconds)
        found: NDArray[Any] = (feeds["x"] + 1) * (1 + self._off)
        return found

    def flops(self, feeds: Mapping[str, NDArray[Any]]) -> int:
        return int(feeds["x"].size)


def sleeper(name: str, kind: Any, **settings: Any) -> Entry:
    return Entry(
        name=name, kind=kind, target="tests.benchmarks.test_contest:Sleeper", settings=settings, cases=("one",), gib=0.1
    )


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    entries = [
        sleeper("base", "reference", seconds=0.01),
        sleeper("off", "peer", seconds=0.01, off=0.5),
        sleeper("broken", "peer", seconds=0.0, broken=True),
    ]
    case = Case(name="one", feeds={"x": np.arange(5.0)}, rounds=3)
    return run_contest(entries, [case], threads=1, pause=0.0)


def record(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in found["entries"] if entry["name"] == name)


def test_every_round_gives_one_time_and_the_warm_up_none(found: dict[str, Any]) -> None:
    assert len(record(found, "base")["cases"]["one"]["seconds"]) == 3


def test_a_run_takes_what_it_takes(found: dict[str, Any]) -> None:
    assert min(record(found, "base")["cases"]["one"]["seconds"]) >= 0.01


def test_the_error_is_to_the_reference_on_the_same_feeds(found: dict[str, Any]) -> None:
    assert record(found, "off")["cases"]["one"]["error"] == pytest.approx(0.5)


def test_one_that_fails_is_recorded_with_its_reason_and_ends_nothing(found: dict[str, Any]) -> None:
    assert record(found, "broken")["failed"] == "RuntimeError: has no weights"


def test_the_reference_says_the_operations_of_the_case(found: dict[str, Any]) -> None:
    assert found["cases"] == [{"name": "one", "rounds": 3, "flops": 5}]


def test_the_peak_of_a_process_is_no_less_than_what_it_holds(found: dict[str, Any]) -> None:
    memory = record(found, "base")["memory"]
    assert memory["peak"] >= memory["running"]["resident"] > 0
