from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.harness.tables import table
from benchmarks.sfm import PUBLISHED_STEPS, TIMED, contestants, times

from limbeck.methods.lgm import LGM
from limbeck.methods.sfm import SFM

RECORDED = Path(__file__).parents[2] / "benchmarks/results/sfm-2026-11-21.json"


def found(**figures: Any) -> dict[str, Any]:
    return {
        "seconds_per_step": 1.0,
        "seconds_per_step_lower": 0.9,
        "seconds_per_step_upper": 1.1,
        "cpu_seconds_per_step": 1.5,
        "seconds_of_published_steps": 7200.0,
        "seconds_of_this_run": 30.0,
        "resumed": False,
        "steps": 20,
        "peak_private_mib": 500.0,
        "peak_private_mib_whole_run": 600.0,
        **figures,
    }


def record(**more: Any) -> dict[str, Any]:
    known = json.loads(RECORDED.read_text())
    lgm = found(seconds_per_step=4.0, seconds_of_published_steps=36000.0, peak_private_mib_whole_run=900.0)
    return {
        "claim": "sfm",
        "date": known["date"],
        "machine": known["machine"],
        "revision": known["revision"],
        "settings": {"threads": 1},
        "contestants": {"sfm, timed": found(), "lgm, 3 views, timed": lgm},
        **more,
    }


def row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_three_are_timed_side_by_side_and_differ_in_method_and_views_only() -> None:
    timed = {name: method for name, method in contestants(400, 20).items() if name.endswith(TIMED)}
    assert [(type(method), method.augs_per_batch) for method in timed.values()] == [(SFM, 1), (LGM, 3), (LGM, 10)]
    settings = {"ipc": 1, "num_steps": 20, "first_side": 256, "golden_head": False}
    sfm, few, default = timed.values()
    assert (sfm, default) == (SFM(**settings), LGM(**settings))
    assert few == replace(default, augs_per_batch=3)


def test_a_published_run_is_the_first_step_and_what_precedes_it_and_the_others_at_the_median() -> None:
    walls = [110.0, 112.0, 114.0, 119.0]
    measured = times(walls, [0.0, 1.0, 2.0, 4.0], begun=100.0, ended=121.0)
    assert measured["seconds_to_first_step"] == 10
    assert measured["seconds_per_step"] == 2
    assert measured["cpu_seconds_per_step"] == 1
    assert measured["seconds_of_published_steps"] == 10 + 2 * (PUBLISHED_STEPS - 1)
    assert measured["seconds_of_this_run"] == 21


def test_the_table_has_the_time_of_a_step_of_a_published_run_and_of_this_run_and_the_memory() -> None:
    assert row(table(record()), "sfm")[1:8] == ["1.00", "0.90-1.10", "1.50", "2.00", "20, 30", "500", "600"]


def test_the_ratios_of_the_table_are_to_sfm() -> None:
    text = table(record())
    assert row(text, "sfm")[-1] == "1.00, 1.00, 1.00"
    assert row(text, "lgm, 3 views")[-1] == "4.00, 5.00, 1.50"


def test_without_sfm_there_are_no_ratios() -> None:
    assert row(table(record(contestants={"lgm, 3 views, timed": found()})), "lgm, 3 views")[-1] == ""


def test_a_run_that_was_resumed_says_that_its_wall_time_is_not_of_the_whole() -> None:
    text = table(record(contestants={"sfm, timed": found(resumed=True)}))
    assert row(text, "sfm")[5] == "20, 30 since it was resumed"


@pytest.mark.parametrize(("accuracy", "cell"), [(0.5, "50.0 %"), ([0.25, 0.75], "25.0 %, 75.0 %")])
def test_what_the_probe_reached_stands_below(accuracy: Any, cell: str) -> None:
    assert row(table(record(probe_accuracy={"random real": accuracy})), "random real")[1] == cell
