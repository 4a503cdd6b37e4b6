"""The study: every method on the same data, students, seeds and compute; stop it at any time, start it again.

    python -m benchmarks.study --work DIR --minutes 60 --fashion-mnist FILE.npz [--data NAME=TRAIN,TEST[,PACK]]
    python -m benchmarks.study_page          puts the tables and plots into docs/study.md

A cell is one student trained once on what one method made of one dataset at one IPC with one seed. Finished cells are
lines of DIR/ledger.jsonl, keyed by everything that decides them (settings, recipe, digests of data and pack): a killed
study goes on where it was, and a changed setting makes new cells beside the old. A method that refuses a dataset or a
pack has its reason as the result.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from benchmarks.harness.machine import ROOT, num_cores, provenance, revision
from benchmarks.harness.options import write
from benchmarks.study_cells import ALL_REAL, Cell, cells
from benchmarks.study_data import SIGN_DIGITS, Data, fashion_mnist
from benchmarks.study_distill import Made, distill
from benchmarks.study_ledger import Ledger

from limbeck.data.source import open_source
from limbeck.errors import LimbeckError
from limbeck.evaluate.protocols import HardLabels
from limbeck.evaluate.recipe import Recipe, differences, overridden
from limbeck.evaluate.students import Student
from limbeck.labels.pixels import Pixels, read_pixels
from limbeck.methods import METHODS, make_method
from limbeck.pack import Pack
from limbeck_server.cli.report import parse_settings

MAKES_AGAIN = {"diver": "d4m"}
"""Methods whose source is a distilled set, and the method whose set they are given."""

TEXT_PACKS = {"edits": "mini-text"}
"""Methods that need a text-conditioned denoiser, and the shipped pack that has one; it knows sign digits."""


class OutOfTime(Exception):
    """The study's minutes are over."""


@dataclass(kw_only=True)
class Study:
    """A study under way.

    Args:
        work: Where the ledger and the distilled sets lie.
        data: The datasets.
        settings: By method, the settings that differ from its defaults.
        image_size: Height and width for the students.
        width: Of ConvNets and ResNets; None is the published.
        scale: What the published epochs are multiplied by.
        real_epochs: Epochs on all real images, of which an epoch has many.
        checks: Tests on the way.
        precision: Of the students' training.
        rates: Learning rates of students by name, where the published one is too low for so few epochs.
        deadline: In seconds of `time.monotonic`.
        set_minutes: The most that one distillation may take.
        threads: Of the students' training and of the engines.
        distill: What makes a set; `limbeck distill` in a process of its own.
    """

    work: Path
    data: Mapping[str, Data]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    image_size: int = 64
    width: int | None = None
    scale: float = 0.1
    real_epochs: int = 20
    checks: int = 5
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    rates: Mapping[str, float] = field(default_factory=dict)
    deadline: float = float("inf")
    set_minutes: float = 10.0
    threads: int = 1
    distill: Callable[..., Made] = distill

    def __post_init__(self) -> None:
        """Read what is finished."""
        self.ledger = Ledger(self.work / "ledger.jsonl")
        self._pixels: dict[str, tuple[Pixels, Pixels]] = {}
        self._facts: dict[str, Mapping[str, object]] = {}

    def run(self, plan: Sequence[Cell]) -> list[Mapping[str, Any]]:
        """Finish as many cells of `plan` as time allows, in order; returns those of it that are finished."""
        finished = []
        for number, cell in enumerate(plan):
            key = cell.key(self.facts(cell))
            if not self._finished(key) and time.monotonic() < self.deadline:
                try:
                    result = self._result(cell)
                except OutOfTime:
                    continue
                now = datetime.now(UTC).isoformat(timespec="seconds")
                self.ledger.add({"key": key, **asdict(cell), **result, "date": now, "revision": revision()["commit"]})
                print(f"{number + 1}/{len(plan)} {_line(cell, result)}", flush=True)
            if key in self.ledger:
                finished.append(self.ledger.cells[key])
        return finished

    def _finished(self, key: str) -> bool:
        """Whether a cell needs nothing more: one that ran out of time is tried again with more of it."""
        found = self.ledger.cells.get(key)
        return found is not None and found.get("set_minutes", self.set_minutes) >= self.set_minutes

    def facts(self, cell: Cell) -> Mapping[str, object]:
        """Everything beside the cell itself that decides its result."""
        data = self.data[cell.dataset]
        if cell.dataset not in self._facts:
            self._facts[cell.dataset] = {
                "train": open_source(data.train).describe()["content_sha256"],
                "test": open_source(data.test).describe()["content_sha256"],
                "pack": Pack.open(data.pack).digest,
            }
        return {
            **self._facts[cell.dataset],
            "method": self._method_facts(cell),
            "recipe": asdict(self._recipe(cell)),
            "image_size": self.image_size,
            "width": self.width,
        }

    def _method_facts(self, cell: Cell) -> object:
        if cell.method == ALL_REAL:
            return None
        try:
            method = make_method(cell.method, ipc=cell.ipc, seed=cell.seed, settings=self.settings.get(cell.method, {}))
        except LimbeckError as error:
            return str(error)
        facts: dict[str, object] = asdict(method)  # type: ignore[call-overload]
        if cell.method in MAKES_AGAIN:
            facts["made again"] = self._method_facts(replace(cell, method=MAKES_AGAIN[cell.method]))
        if cell.method in TEXT_PACKS:
            facts["pack"] = Pack.open(TEXT_PACKS[cell.method]).digest
        return facts

    def _recipe(self, cell: Cell) -> Recipe:
        published = self._published(cell)
        if cell.method == ALL_REAL:
            recipe = overridden(published, epochs=self.real_epochs, checks=self.checks, precision=self.precision)
        else:
            recipe = overridden(published, scale=self.scale, checks=self.checks, precision=self.precision)
        return replace(recipe, learning_rate=self.rates.get(cell.student, recipe.learning_rate))

    def _published(self, cell: Cell) -> Recipe:
        data = self.data[cell.dataset]
        source = open_source(data.train)
        classes = range(len(source.class_names))
        return HardLabels().recipe(
            ipc=cell.ipc or min(len(source.names(label)) for label in classes),
            num_classes=len(classes),
            student=cell.student,
            image_size=self.image_size,
        )

    def _result(self, cell: Cell) -> dict[str, Any]:
        if cell.method == ALL_REAL:
            return self._train(cell, self._real(cell.dataset)[0])
        made = self._distilled(cell)
        if made.out is None:
            if made.status == "out of time" and time.monotonic() >= self.deadline:
                raise OutOfTime
            limit = {"set_minutes": self.set_minutes} if made.status == "out of time" else {}
            return {"status": made.status, "reason": made.reason, "distill_seconds": made.seconds, **limit}
        pixels = read_pixels(open_source(made.out), size=self.image_size)
        return {
            **self._train(cell, pixels),
            "distill_seconds": made.seconds,
            "distill_peak_nbytes": made.peak_nbytes,
        }

    def _distilled(self, cell: Cell) -> Made:
        data, given = self.data[cell.dataset], self.settings.get(cell.method, {})
        place = data.train
        if cell.method in MAKES_AGAIN:
            first = self._distilled(replace(cell, method=MAKES_AGAIN[cell.method]))
            if first.out is None:
                return replace(first, reason=f"of the {MAKES_AGAIN[cell.method]} set: {first.reason}")
            place = str(first.out)
        pack = TEXT_PACKS.get(cell.method, data.pack)
        arguments = ["--data", place, "--pack", pack, "--method", cell.method, "--ipc", str(cell.ipc)]
        arguments += ["--seed", str(cell.seed), "--threads", str(self.threads)]
        for name, value in given.items():
            arguments += ["--set", f"{name}={json.dumps(value)}"]
        facts = {**self._facts[cell.dataset], "method": self._method_facts(cell)}
        anyone = Cell(dataset=cell.dataset, method=cell.method, ipc=cell.ipc, student="", seed=cell.seed)
        left = min(self.deadline - time.monotonic(), 60 * self.set_minutes)
        return self.distill(arguments, self.work / "sets" / anyone.key(facts), timeout_seconds=left)

    def _train(self, cell: Cell, pixels: Pixels) -> dict[str, Any]:
        import torch

        from limbeck.evaluate.feeds import HardFeed
        from limbeck.evaluate.training import train

        torch.set_num_threads(self.threads)
        recipe, test = self._recipe(cell), self._real(cell.dataset)[1]
        start = time.perf_counter()
        trained = train(
            Student(name=cell.student, norm=HardLabels().norm, width=self.width),
            HardFeed(pixels, recipe, seed=cell.seed),
            test,
            recipe,
            seed=cell.seed,
            on_epoch=self._stop_in_time,
        )
        return {
            "status": "measured",
            "images": len(pixels.labels),
            "best": max(found for _, found in trained.curve),
            "last": trained.curve[-1][1],
            "curve": [list(point) for point in trained.curve],
            "train_seconds": round(time.perf_counter() - start, 2),
            "epochs": recipe.epochs,
            "overrides": differences(self._published(cell), recipe),
        }

    def _stop_in_time(self, done: int, total: int) -> None:
        if time.monotonic() >= self.deadline:
            raise OutOfTime

    def _real(self, dataset: str) -> tuple[Pixels, Pixels]:
        if dataset not in self._pixels:
            data = self.data[dataset]
            train, test = (read_pixels(open_source(place), size=self.image_size) for place in (data.train, data.test))
            self._pixels[dataset] = train, test
        return self._pixels[dataset]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run for the minutes given, and write what is finished as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where the ledger and the distilled sets lie")
    parser.add_argument("--out", type=Path, help="default benchmarks/results/study-DATE.json")
    parser.add_argument("--minutes", type=float, required=True, help="when to stop")
    parser.add_argument("--set-minutes", type=float, default=10, help="the most that one distillation may take")
    parser.add_argument("--fashion-mnist", type=Path, help="an npz with x_train, y_train, x_test, y_test")
    parser.add_argument("--fashion-pack", default="mini", help="a pack that knows its classes; tools/fashion makes one")
    parser.add_argument("--fashion-per-class", type=int, help="training images of each class; default all")
    parser.add_argument("--data", action="append", default=[], help="NAME=TRAIN,TEST[,PACK], with named classes")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--students", nargs="+", default=["convnet-3", "resnet-ap-10"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--width", type=int)
    parser.add_argument("--scale", type=float, default=0.1, help="of the published epochs")
    parser.add_argument("--rate", action="append", default=[], help="STUDENT=LEARNING_RATE, if not the published")
    parser.add_argument("--real-epochs", type=int, default=20, help="on all real images")
    parser.add_argument("--checks", type=int, default=5)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=num_cores())
    parser.add_argument("--set", action="append", default=[], help="METHOD.NAME=VALUE")
    given = parser.parse_args(arguments)
    fashion = []
    if given.fashion_mnist:
        file, per_class = given.fashion_mnist, given.fashion_per_class
        fashion = [fashion_mnist(file, given.work, pack=given.fashion_pack, per_class=per_class)]
    data = {one.name: one for one in (SIGN_DIGITS, *fashion, *map(Data.parse, given.data))}
    head = provenance()
    study = Study(
        work=given.work,
        data=data,
        settings=by_method(given.set),
        image_size=given.image_size,
        width=given.width,
        scale=given.scale,
        real_epochs=given.real_epochs,
        checks=given.checks,
        precision=given.precision,
        rates={student: float(rate) for student, rate in (pair.split("=") for pair in given.rate)},
        deadline=time.monotonic() + 60 * given.minutes,
        set_minutes=given.set_minutes,
        threads=given.threads,
    )
    plan = list(
        cells(datasets=list(data), methods=given.methods, ipcs=given.ipc, students=given.students, seeds=given.seeds)
    )
    finished = study.run(plan)
    settings = {
        name: getattr(given, name)
        for name in (
            "ipc",
            "students",
            "seeds",
            "image_size",
            "width",
            "scale",
            "real_epochs",
            "checks",
            "precision",
            "threads",
            "fashion_per_class",
        )
    }
    settings |= {
        "rates": study.rates,
        "methods": study.settings,
        "minutes": given.minutes,
        "set_minutes": given.set_minutes,
    }
    out = given.out or ROOT / f"benchmarks/results/study-{datetime.now(UTC):%Y-%m-%d}.json"
    write(out, {"format": 1, "claim": "study", **head, "settings": settings, "planned": len(plan), "cells": finished})
    print(f"{len(finished)} of {len(plan)} cells are finished; written to {out}")


def by_method(pairs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """METHOD.NAME=VALUE pairs as settings by method."""
    found: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        method, _, rest = pair.partition(".")
        found.setdefault(method, {}).update(parse_settings([rest]))
    return found


def _line(cell: Cell, result: Mapping[str, Any]) -> str:
    found = (
        f"best {100 * result['best']:.1f} %, last {100 * result['last']:.1f} %, {result['train_seconds']:.0f} s"
        if result["status"] == "measured"
        else f"{result['status']}: {result['reason'].splitlines()[0] if result['reason'] else ''}"
    )
    return f"{cell.dataset} {cell.method} ipc {cell.ipc} {cell.student} seed {cell.seed}: {found}"


if __name__ == "__main__":
    main()
