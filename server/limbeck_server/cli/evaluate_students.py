"""What a distilled set is worth to networks that are trained on it, by a published protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from limbeck.backbone import open_backbone
from limbeck.backends.base import Backend
from limbeck.data.distilled import DistilledSet
from limbeck.data.stored import StoredSource
from limbeck.durable import write_whole
from limbeck.errors import ConfigError
from limbeck.evaluate.page import percent
from limbeck.evaluate.protocols import PROTOCOLS
from limbeck.evaluate.report import report as html_report
from limbeck.evaluate.results import Evaluation
from limbeck.evaluate.students import Student
from limbeck.labels.pixels import Pixels, read_pixels
from limbeck.labels.stored import read_labels, write_labels
from limbeck.labels.teacher import LinearTeacher, Teacher
from limbeck.pack import Pack
from limbeck_server.cli.evaluate_sources import Sources
from limbeck_server.cli.report import Report

StudentProtocol = Literal["hard", "soft", "fkd"]
BACKBONE = "backbone"
"""As a teacher: the pack's, with a linear head."""


@dataclass(frozen=True, kw_only=True)
class StudentEvaluation:
    """An evaluation by training, as asked for on the command line."""

    report: Report
    protocol: StudentProtocol
    student: Student
    pack: str
    backend: Backend
    threads: int | None
    seeds: int
    baselines: Sequence[str]
    teacher: str
    labels: Path | None
    scale: float
    epochs: int | None
    checks: int | None
    precision: Literal["float32", "bfloat16"]
    device: str

    def evaluate(self, sources: Sources, *, image_size: int | None, page: Path | None) -> None:
        """Train, and tell. Real training images are read only where something is trained on them."""
        from limbeck.evaluate.runs import Evaluator
        from limbeck.evaluate.training import refuse_device

        refuse_device(self.device)
        self._limit_threads()
        stored = read_labels(self.labels) if self.labels is not None and self.labels.exists() else None
        taught = self.protocol != "hard" and stored is None
        size = image_size or _own_size(sources.distilled[0]) or PROTOCOLS[self.protocol]().image_size
        sets = [read_pixels(source, size=size) for source in sources.distilled]
        tested = read_pixels(sources.test, size=size, margin=PROTOCOLS[self.protocol]().test_margin)
        needed = sources.train if taught or self.baselines else None
        real = None if needed is None else read_pixels(needed, size=size)
        with self._teacher(real, tested, needed=taught) as teacher:
            evaluator = Evaluator(
                protocol=PROTOCOLS[self.protocol](),
                student=self.student,
                test=tested,
                seeds=self.seeds,
                teacher=teacher,
                stored=stored,
                scale=self.scale,
                epochs=self.epochs,
                checks=self.checks,
                precision=self.precision,
                device=self.device,
                on_progress=self.report.step,
            )
            with self.report.progress():
                if self.labels is not None and stored is None:
                    made = evaluator.labeled(sets[0], evaluator.recipes(sets[0])[1], seed=0)
                    write_labels(self.labels, made)
                    evaluator = replace(evaluator, stored=made)
                found = evaluator.evaluate(sets, real=real, baselines=self.baselines)
        self._tell(found)
        if page is not None:
            write_whole(page, html_report(found, sets, title=f"What {sources.name} is worth").encode())
            self.report.say(f"to read: {page}")

    def _tell(self, found: Evaluation) -> None:
        self.report.event("evaluation", **found.as_dict())
        self.report.table(
            f"test accuracy of {found.student.name}, protocol {found.protocol}, {found.image_size} px",
            ["trained on", "images", "best", "last", "runs"],
            [
                [
                    w.trained_on,
                    w.images,
                    percent(*w.best),
                    percent(*w.last),
                    len(w.runs),
                ]
                for w in found.worths
            ],
            numbers=True,
        )
        for name, pair in found.worths[0].overrides.items():
            self.report.say(f"not as published: {name} is {pair['used']}, published {pair['published']}")
        for name, value in found.scores.items():
            self.report.say(f"{name.replace('_', ' ')}: {value:.3f}")

    @contextmanager
    def _teacher(self, real: Pixels | None, test: Pixels, *, needed: bool) -> Iterator[Teacher | None]:
        """Who gives soft labels, trained on the real images."""
        if not needed:
            yield None
            return
        if real is None:
            raise ConfigError(f"protocol {self.protocol} trains a teacher on real images: give --train")
        with ExitStack() as stack:
            if self.teacher == BACKBONE:
                backbone = stack.enter_context(open_backbone(Pack.open(self.pack), self.backend))
                yield LinearTeacher.fit(backbone, real)
                return
            from limbeck.evaluate.training import TEACHER, train_teacher

            with self.report.progress():
                made, _ = train_teacher(
                    Student.parse(self.teacher).with_norm("batch"),
                    real,
                    test,
                    recipe=replace(TEACHER, precision=self.precision),
                    device=self.device,
                    on_epoch=lambda done, total: self.report.step("teacher", done, total),
                )
            yield made

    def _limit_threads(self) -> None:
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)


def _own_size(source: StoredSource) -> int | None:
    """The size that a distilled set was made at."""
    size = (source.manifest.model_extra or {}).get("image_size") if isinstance(source, DistilledSet) else None
    return size if isinstance(size, int) else None
