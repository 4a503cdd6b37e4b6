"""The study: its order, its ledger, what it makes of a method that refuses, and its page."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.study import Study, by_method
from benchmarks.study_cells import ALL_REAL, Cell, cells
from benchmarks.study_data import FASHION, Data, fashion_mnist
from benchmarks.study_distill import Made, distill
from benchmarks.study_ledger import Ledger
from benchmarks.study_page import PAGE, draw, tables, with_study

from limbeck.data.source import open_source
from limbeck.methods import METHODS

PLAN = list(cells(datasets=["a", "b"], methods=["m", "n"], ipcs=[1, 10, 50], students=["s", "t"], seeds=3))
CELL = Cell(dataset="digits", method="random", ipc=1, student="convnet-3", seed=0)


def test_every_cell_stands_once_in_the_plan() -> None:
    assert len(set(PLAN)) == len(PLAN) == 2 * 2 * 3 * (2 * 3 + 1)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"ipc": 10, "seed": 2, "student": "t"}, {"ipc": 50, "seed": 0}),
        ({"ipc": 10, "seed": 0, "student": "t"}, {"ipc": 1, "seed": 1}),
        ({"ipc": 50, "seed": 0, "student": "t"}, {"ipc": 50, "seed": 1}),
        ({"ipc": 10, "seed": 0, "student": "s"}, {"ipc": 1, "seed": 0, "student": "t"}),
    ],
)
def test_a_stopped_study_is_balanced(first: dict[str, object], then: dict[str, object]) -> None:
    def places(wanted: dict[str, object]) -> list[int]:
        return [i for i, c in enumerate(PLAN) if all(getattr(c, name) == value for name, value in wanted.items())]

    assert max(places(first)) < min(places(then))


def test_methods_take_turns_within_an_ipc() -> None:
    runs = [cell.method for cell in PLAN if cell.method != ALL_REAL]
    assert all(one != other for one, other in pairwise(runs))


def test_the_key_of_a_cell_changes_with_what_decides_it() -> None:
    facts = {"method": {"num_steps": 10}, "train": "abc"}
    assert CELL.key(facts) == CELL.key(dict(reversed(facts.items())))
    assert CELL.key(facts) != CELL.key({**facts, "method": {"num_steps": 11}})


def test_a_line_that_was_not_finished_is_no_cell_and_harms_none(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).add({"key": "a", "best": 0.5})
    with path.open("a") as stream:
        stream.write('{"key": "b", "be')
    continued = Ledger(path)
    assert set(continued.cells) == {"a"}
    continued.add({"key": "b", "best": 0.25})
    continued.add({"key": "c", "best": 0.75})
    assert {key: cell["best"] for key, cell in Ledger(path).cells.items()} == {"a": 0.5, "b": 0.25, "c": 0.75}


def test_settings_are_given_by_method() -> None:
    assert by_method(["sfm.num_steps=300", "sfm.augment=false", "d4m.sampler=ddim"]) == {
        "sfm": {"num_steps": 300, "augment": False},
        "d4m": {"sampler": "ddim"},
    }


def test_a_dataset_is_named_with_its_places() -> None:
    assert Data.parse("f=a.npz:train,a.npz:test") == Data(name="f", train="a.npz:train", test="a.npz:test")
    assert Data.parse("f=a,b,packs/c").pack == "packs/c"


def test_fashion_mnist_gets_the_names_of_its_classes(tmp_path: Path) -> None:
    """Without them its classes are called as the mini pack's digits are, and are distilled into hands."""
    labels = np.arange(10)
    images = np.repeat(labels.astype(np.uint8), 28 * 28).reshape(10, 28, 28)
    np.savez(tmp_path / "given.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    data = fashion_mnist(tmp_path / "given.npz", tmp_path / "work")
    for place in (data.train, data.test):
        source = open_source(place)
        assert source.class_names == FASHION
        assert float(next(source.images(9, size=28, fit="crop", batch=1)).mean()) == pytest.approx(9 / 255)


def test_fashion_mnist_is_cut_to_the_first_of_each_class(tmp_path: Path) -> None:
    labels = np.tile(np.arange(10), 3)
    images = np.repeat(np.arange(30, dtype=np.uint8), 28 * 28).reshape(30, 28, 28)
    np.savez(tmp_path / "given.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    whole = fashion_mnist(tmp_path / "given.npz", tmp_path / "work")
    data = fashion_mnist(tmp_path / "given.npz", tmp_path / "work", per_class=2)
    train = open_source(data.train)
    assert [len(train.names(label)) for label in range(10)] == [2] * 10
    drawn = next(train.images(9, size=28, fit="crop", batch=2))
    assert [round(float(image.mean()) * 255) for image in drawn] == [9, 19]
    assert [len(open_source(place).names(9)) for place in (data.test, whole.train)] == [3, 3]


class Distiller:
    """Makes the set of the first images of each class, and refuses every other method than `random`."""

    def __init__(self, images: dict[str, np.ndarray]) -> None:
        self.calls = 0
        self._images = images

    def __call__(self, arguments: Sequence[str], out: Path, *, timeout_seconds: float) -> Made:
        self.calls += 1
        named = dict(zip(arguments[::2], arguments[1::2], strict=True))
        if timeout_seconds < 60:
            return Made(out=None, status="out of time", reason="reached step 1 of 9")
        if named["--method"] != "random":
            return Made(out=None, status="refused", reason="needs what is not there")
        out.parent.mkdir(parents=True, exist_ok=True)
        path = out.with_suffix(".npz")
        np.savez(path, images=np.stack([v[0] for v in self._images.values()]), labels=np.arange(len(self._images)))
        return Made(out=path, status="made", seconds=1.0, peak_nbytes=1000)


@pytest.fixture
def study(tmp_path: Path, rng: np.random.Generator) -> Any:
    """Makes a study of two classes of tiny images; each call is a new process, as far as it knows."""
    pytest.importorskip("torch")
    images = {name: rng.integers(low, low + 60, (4, 16, 16, 3), dtype=np.uint8) for name, low in (("0", 0), ("1", 190))}
    both = np.concatenate(list(images.values()))
    np.savez(tmp_path / "data.npz", images=both, labels=np.repeat([0, 1], 4))
    place = str(tmp_path / "data.npz")

    def make(**more: Any) -> Study:
        return Study(
            work=tmp_path / "work",
            data={"digits": Data(name="digits", train=place, test=place)},
            image_size=16,
            width=4,
            scale=0.01,
            distill=Distiller(images),
            **more,
        )

    return make


@pytest.mark.torch
def test_a_method_that_makes_a_set_again_is_given_one(study: Any) -> None:
    given: dict[str, str] = {}

    def record(arguments: Sequence[str], out: Path, *, timeout_seconds: float) -> Made:
        named = dict(zip(arguments[::2], arguments[1::2], strict=True))
        given[named["--method"]] = named["--data"]
        return Made(out=out, status="made") if named["--method"] == "d4m" else Made(out=None, status="refused")

    plan = [replace(CELL, method="diver")]
    replace(study(), distill=record).run(plan)
    assert list(given) == ["d4m", "diver"]
    assert given["diver"] != given["d4m"]
    assert Path(given["diver"]).parent.name == "sets"


@pytest.mark.torch
def test_finished_cells_are_not_done_again(study: Any) -> None:
    first = study()
    before = first.run([CELL])
    again = study()
    assert again.run([CELL]) == before
    assert (first.distill.calls, again.distill.calls) == (1, 0)
    assert before[0]["status"] == "measured"
    assert before[0]["images"] == 2


@pytest.mark.torch
def test_a_changed_recipe_makes_a_new_cell(study: Any) -> None:
    study().run([CELL])
    other = study(checks=1)
    other.run([CELL])
    assert other.distill.calls == 1
    assert len(other.ledger.cells) == 2


@pytest.mark.torch
def test_a_refusal_is_a_result(study: Any) -> None:
    (refused,) = study().run([Cell(dataset="digits", method="d4m", ipc=1, student="convnet-3", seed=0)])
    assert (refused["status"], refused["reason"]) == ("refused", "needs what is not there")


@pytest.mark.torch
def test_nothing_is_begun_after_the_deadline_and_what_was_begun_is_not_counted(study: Any) -> None:
    assert study(deadline=time.monotonic() - 1).run([CELL]) == []
    assert len(study().run([CELL])) == 1


@pytest.mark.torch
def test_what_ran_out_of_its_own_time_is_a_result_until_there_is_more_of_it(study: Any) -> None:
    (found,) = study(set_minutes=0.5).run([CELL])
    assert (found["status"], found["reason"]) == ("out of time", "reached step 1 of 9")
    same = study(set_minutes=0.5)
    same.run([CELL])
    assert same.distill.calls == 0
    assert study(set_minutes=5).run([CELL])[0]["status"] == "measured"


@pytest.mark.torch
def test_all_real_images_need_no_method(study: Any) -> None:
    made = study(real_epochs=1)
    (found,) = made.run([Cell(dataset="digits", method=ALL_REAL, ipc=0, student="convnet-3", seed=0)])
    assert (found["images"], found["epochs"], made.distill.calls) == (8, 1, 0)


@pytest.fixture
def arguments(tmp_path: Path, rng: np.random.Generator) -> list[str]:
    """Of a real process, on two classes that no pack knows."""
    images = rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=[0, 0, 1, 1], class_names=["hat", "shoe"])
    return ["--data", str(tmp_path / "data.npz"), "--ipc", "1", "--threads", "1"]


def test_a_set_is_made_once_and_what_it_took_is_kept(arguments: list[str], tmp_path: Path) -> None:
    made = distill([*arguments, "--method", "random"], tmp_path / "sets" / "a", timeout_seconds=200)
    assert (made.status, made.out) == ("made", tmp_path / "sets" / "a")
    assert made.peak_nbytes is not None
    assert distill([], tmp_path / "sets" / "a", timeout_seconds=0) == made


def test_the_reason_of_a_refusal_is_kept(arguments: list[str], tmp_path: Path) -> None:
    made = distill([*arguments, "--method", "d4m"], tmp_path / "a", timeout_seconds=200)
    assert (made.status, made.out) == ("refused", None)
    assert "hat" in made.reason


def test_a_process_that_is_out_of_time_leaves_no_result(arguments: list[str], tmp_path: Path) -> None:
    made = distill([*arguments, "--method", "random"], tmp_path / "a", timeout_seconds=0)
    assert made.status in ("out of time", "made")  # one second may be enough
    assert (tmp_path / "a.json").exists() == (made.status == "made")


def cell(method: str, ipc: int, best: float, *, seed: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "dataset": "digits",
        "student": "convnet-3",
        "method": method,
        "ipc": ipc,
        "seed": seed,
        "status": "measured",
        "images": 10,
        "best": best,
        "last": best - 0.1,
        **more,
    }


def result(*found: dict[str, Any]) -> dict[str, Any]:
    settings = {"scale": 0.1, "real_epochs": 5, "image_size": 64, "width": None, "precision": "bfloat16"}
    return {
        "claim": "study",
        "date": "2026-01-02T03:04:05+00:00",
        "machine": {"cores": 2, "processor": "P"},
        "settings": {**settings, "set_minutes": 10, "methods": {"sfm": {"num_steps": 300}}},
        "planned": 40,
        "cells": list(found),
    }


def row(text: str, method: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {method} |"))
    return [part.strip() for part in line.strip("|").split("|")]


def test_a_row_has_mean_deviation_and_seeds_of_best_and_last() -> None:
    text = tables(result(cell("random", 1, 0.4), cell("d4m", 1, 0.5), cell("d4m", 1, 0.7, seed=1)))
    assert row(text, "d4m") == ["d4m", "**60.0 ± 14.1 (2)**", "50.0 ± 14.1 (2)"]
    assert row(text, "random")[1] == "40.0 ± 0.0 (1)"


def test_what_is_not_better_than_random_is_not_bold() -> None:
    text = tables(result(cell("random", 1, 0.4), cell("d4m", 1, 0.39), cell("d4m", 10, 0.9)))
    assert row(text, "d4m")[1::2] == ["39.0 ± 0.0 (1)", "90.0 ± 0.0 (1)"]


def last_row(text: str, method: str) -> list[str]:
    return row("\n".join(reversed(text.splitlines())), method)


def test_a_method_is_set_beside_random_by_seed() -> None:
    random = [cell("random", 1, best, seed=seed) for seed, best in enumerate((0.4, 0.5, 0.6, 0.9))]
    above = [cell("d4m", 1, best, seed=seed) for seed, best in enumerate((0.45, 0.54, 0.66))]
    assert last_row(tables(result(*random, *above)), "d4m") == ["d4m", "**+5.0 ± 0.6 (3)**"]


def test_a_method_that_is_below_random_once_is_not_clearly_above_it() -> None:
    random = [cell("random", 1, 0.4, seed=seed) for seed in range(3)]
    mixed = [cell("d4m", 1, best, seed=seed) for seed, best in enumerate((0.39, 0.7, 0.7))]
    assert last_row(tables(result(*random, *mixed)), "d4m")[1].startswith("+19.7")


def test_two_seeds_are_never_clearly_above_random() -> None:
    random = [cell("random", 1, best, seed=seed) for seed, best in enumerate((0.4, 0.5))]
    above = [cell("d4m", 1, best, seed=seed) for seed, best in enumerate((0.6, 0.7))]
    assert last_row(tables(result(*random, *above)), "d4m") == ["d4m", "+20.0 ± 0.0 (2)"]


def test_a_method_without_random_beside_it_has_no_difference() -> None:
    found = tables(result(cell("random", 1, 0.4), cell("d4m", 1, 0.5), cell("sfm", 10, 0.5)))
    beside = found.partition("### Beside random images")[2].partition("### What distilling takes")[0]
    assert "| d4m |" in beside
    assert "sfm" not in beside


def test_each_number_of_images_has_its_own_differences() -> None:
    pairs = [(10, 0.5, 0.4), (1, 0.3, 0.5)]
    cells = [one for ipc, random, made in pairs for one in (cell("random", ipc, random), cell("d4m", ipc, made))]
    beside = tables(result(*cells)).partition("### Beside random images")[2].partition("### What distilling takes")[0]
    rows = [line for line in beside.splitlines() if line.startswith(("| IPC", "| d4m"))]
    assert [line.split("|")[1].strip() for line in rows] == ["IPC 1", "d4m", "IPC 10", "d4m"]
    assert [line.split("|")[2].strip() for line in rows[1::2]] == ["+20.0 (1)", "-10.0 (1)"]


def test_a_good_seed_of_random_does_not_count_against_a_method_that_lacks_it() -> None:
    random = [cell("random", 1, best, seed=seed) for seed, best in enumerate((0.4, 0.9))]
    assert row(tables(result(*random, cell("d4m", 1, 0.5))), "d4m")[1] == "**50.0 ± 0.0 (1)**"


def test_settings_that_differ_from_the_defaults_are_said() -> None:
    assert "sfm.num_steps=300" in tables(result(cell("random", 1, 0.4)))


def test_a_reason_stands_once_for_all_its_cells() -> None:
    refused = [cell("d4m", ipc, 0.0, status="refused", reason="knows no\nsuch class") for ipc in (1, 10, 1)]
    text = tables(result(*refused))
    assert text.count("knows no such class") == 1
    assert "- digits, d4m, IPC 1, 10: refused: knows no such class" in text


def test_costs_are_medians_of_the_whole_process() -> None:
    made = [
        cell("d4m", 1, 0.5, seed=s, distill_seconds=t, distill_peak_nbytes=2e8) for s, t in enumerate((1.0, 3.0, 9.0))
    ]
    assert "| digits | d4m | 1 | 3.0 | 200 |" in tables(result(*made))


def test_a_block_is_replaced_by_what_its_file_says(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(result(cell("random", 1, 0.4), cell(ALL_REAL, 0, 0.9))))
    page = "before\n<!-- study of s.json -->\nold\n<!-- end of study -->\nafter\n"
    found = with_study(page, tmp_path)
    assert found.startswith("before\n<!-- study of s.json -->\n\nMeasured until 2026-01-02 on 2 cores")
    assert "All 10 real images: best 90.0" in found
    assert found.endswith("<!-- end of study -->\nafter\n")


def test_the_page_says_what_its_results_say() -> None:
    assert with_study(PAGE.read_text()) == PAGE.read_text(), "run: python -m benchmarks.study_page"


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="drawing needs matplotlib (the study extra)")
def test_a_plot_names_each_method_and_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    found = result(cell("random", 1, 0.4), cell("random", 10, 0.6), cell("d4m", 1, 0.5), cell(ALL_REAL, 0, 0.9))
    for name in ("a", "b"):
        draw(found, tmp_path / name)
    drawn = [(tmp_path / name / "digits-convnet-3.svg").read_text() for name in ("a", "b")]
    assert drawn[0] == drawn[1]
    # matplotlib draws text as shapes and says in a comment what they spell
    assert {"random", "d4m", ALL_REAL} <= set(re.findall(r"<!-- (.+) -->", drawn[0]))


def test_the_study_compares_every_method_there_is() -> None:
    plan = cells(datasets=["a"], methods=list(METHODS), ipcs=[1], students=["s"], seeds=1)
    assert {one.method for one in plan} == {*METHODS, ALL_REAL}
