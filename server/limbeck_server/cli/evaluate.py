"""`limbeck evaluate`: what a distilled set is worth, beside random and all real images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from limbeck.backbone import open_backbone
from limbeck.backends.base import Backend
from limbeck.data.distilled import DistilledSet
from limbeck.data.source import open_source
from limbeck.data.stored import StoredSource
from limbeck.durable import write_whole
from limbeck.errors import ConfigError
from limbeck.evaluate.heirs import Heirs
from limbeck.evaluate.inheritance import ProjectorTraining
from limbeck.evaluate.probe import Accuracy, compare, extract, refuse_other_classes
from limbeck.evaluate.protocols import PROTOCOLS
from limbeck.evaluate.report import report as html_report
from limbeck.evaluate.results import Evaluation
from limbeck.evaluate.students import STUDENTS, Student, require_torch
from limbeck.labels.pixels import Pixels, read_pixels
from limbeck.labels.stored import read_labels, write_labels
from limbeck.labels.teacher import LinearTeacher, Teacher
from limbeck.linear_head import LinearHead
from limbeck.pack import Pack
from limbeck_server.cli.options import (
    BackendOption,
    BackendSetOption,
    PackOption,
    ProviderOption,
    ThreadsOption,
    make_backend,
)
from limbeck_server.cli.report import JsonOption, Report, reporting

ProtocolName = Literal["probe", "inheritance", "hard", "soft", "fkd"]
BACKBONE = "backbone"


def evaluate(
    distilled: Annotated[
        list[Path],
        typer.Argument(help="Distilled sets that differ in their seed only; one or more.", show_default=False),
    ],
    test: Annotated[str, typer.Option(help="The real test images.")],
    train: Annotated[
        str | None,
        typer.Option(help="The real training images; for the probe, baselines and teachers.", show_default=False),
    ] = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(
            help="probe: logistic regression on the pack's backbone. hard: students on hard labels (IDC, Minimax). "
            "soft: a teacher beside them (RDED). fkd: soft labels stored for each augmentation (SRe2L). inheritance: "
            "another backbone takes over the classifier of the pack's (SFM)."
        ),
    ] = "probe",
    student: Annotated[str, typer.Option(help=f"What is trained: {', '.join(STUDENTS)}.")] = "convnet-3",
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Training runs on each set.", show_default="3; of the probe 5, draws of real images"),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="Train on real images too: random, as many, or all; may be repeated.",
            metavar="random|all",
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        str, typer.Option(help="Who gives soft labels: backbone (of the pack, with a linear head) or a student's name.")
    ] = BACKBONE,
    heir: Annotated[
        str | None, typer.Option(help="inheritance: the pack whose backbone inherits.", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="fkd: the file of soft labels; made if it is not there, else read.", show_default=False),
    ] = None,
    scale: Annotated[float, typer.Option(min=0, help="Multiply the published number of epochs.")] = 1.0,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="The number of epochs itself.", show_default="published")
    ] = None,
    checks: Annotated[
        int | None, typer.Option(min=1, help="Tests on the way, equally far apart.", show_default="published")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Height and width for the student.", show_default="the set's own")
    ] = None,
    norm: Annotated[
        Literal["instance", "batch"] | None, typer.Option(help="Of ConvNets and ResNets.", show_default="published")
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Channels of a ConvNet or ResNet.", show_default="published")
    ] = None,
    precision: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="bfloat16 trains faster where the processor has it.")
    ] = "float32",
    device: Annotated[str, typer.Option(help="Where torch trains: cpu, cuda, cuda:1.")] = "cpu",
    report_file: Annotated[
        Path | None, typer.Option("--report", help="Write a page to read, pictures inside.", show_default=False)
    ] = None,
    pack: PackOption = "mini",
    backend: BackendOption = "onnxruntime",
    backend_set: BackendSetOption = None,
    provider: ProviderOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure distilled sets.

    By default with a linear probe: logistic regression on the features of the pack's backbone, trained on the distilled
    images, on as many random real images, and on all real images; accuracy on the real test images, mean and spread
    over seeds. With --protocol, by training students as published; what was not followed is said.

    Example: limbeck evaluate distilled --train photos/train --test photos/test
    """
    with reporting(as_json) as report:
        if protocol == "probe":
            if train is None:
                raise ConfigError("the probe compares with real images: give --train")
            chosen = make_backend(backend, provider, threads, backend_set, pack=pack)
            _probe(report, [*map(str, distilled)], train, test, pack=pack, backend=chosen, seeds=seeds or 5)
            return
        if protocol == "inheritance":
            if train is None or heir is None:
                raise ConfigError(
                    "inheritance trains a head on real images, for another backbone: give --train and --heir"
                )
            chosen = make_backend(backend, provider, threads, backend_set, pack=pack)
            count = epochs or math.ceil(scale * ProjectorTraining().epochs)
            training = ProjectorTraining(epochs=max(count, 1))
            _inheritance(
                report, distilled, train, test, packs=(pack, heir), backend=chosen, seeds=seeds or 3, training=training
            )
            return
        require_torch()
        asked = Student.parse(student).with_norm(norm or PROTOCOLS[protocol]().norm)
        _Students(
            report=report,
            protocol=protocol,
            student=Student(name=asked.name, norm=asked.norm, width=width),
            pack=pack,
            backend=make_backend(backend, provider, threads, backend_set, pack=pack),
            threads=threads,
            seeds=seeds or 3,
            baselines=baseline or [],
            teacher=teacher,
            labels=labels,
            scale=scale,
            epochs=epochs,
            checks=checks,
            precision=precision,
            device=device,
        ).evaluate(distilled, train=train, test=test, image_size=image_size, page=report_file)


def _probe(
    report: Report, distilled: Sequence[str], train: str, test: str, *, pack: str, backend: Backend, seeds: int
) -> None:
    sources = [*map(open_source, distilled), open_source(train), open_source(test)]
    refuse_other_classes(sources)
    total = sum(len(source.names(i)) for source in sources for i in range(len(source.class_names)))
    done = 0

    def count(images: int) -> None:
        nonlocal done
        done += images
        report.step("features", done, total)

    with open_backbone(Pack.open(pack), backend) as backbone, report.progress():
        sets = [extract(source, backbone, on_images=count) for source in sources]
    rows = compare(sets[:-2], sets[-2], sets[-1], seeds=seeds)
    _tell_accuracies(report, rows, "test accuracy of logistic regression on features of the pack's backbone")


def _inheritance(
    report: Report,
    distilled: Sequence[Path],
    train: str,
    test: str,
    *,
    packs: tuple[str, str],
    backend: Backend,
    seeds: int,
    training: ProjectorTraining,
) -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(open_backbone(Pack.open(pack), backend)) for pack in packs)
        size = max(first.image_size, second.image_size)
        sources = [open_source(folder) for folder in distilled]
        heirs = Heirs(
            distiller=first,
            heir=second,
            real=read_pixels(open_source(train), size=size),
            test=read_pixels(open_source(test), size=size),
            training=training,
            head=_stored_head(sources[0], Pack.open(packs[0])),
            on_progress=report.step,
        )
        stack.enter_context(report.progress())
        rows = heirs.compare([read_pixels(source, size=size) for source in sources], seeds=seeds)
    _tell_accuracies(report, rows, "test accuracy of inherited classifiers")
    published = ProjectorTraining().epochs
    if training.epochs != published:
        report.say(f"not as published: epochs is {training.epochs}, published {published}")


def _stored_head(source: StoredSource, pack: Pack) -> LinearHead | None:
    """The golden head that came with a set that was distilled with this pack."""
    if not isinstance(source, DistilledSet):
        return None
    made_with = (source.manifest.model_extra or {}).get("pack", {})
    arrays = source.arrays()
    if "golden_head_weight" not in arrays or made_with.get("digest") != pack.digest:
        return None
    return LinearHead(arrays["golden_head_weight"], arrays["golden_head_bias"])


def _tell_accuracies(report: Report, rows: Sequence[Accuracy], title: str) -> None:
    for row in rows:
        report.event(
            "accuracy",
            trained_on=row.name,
            images=row.images,
            mean=row.mean,
            spread=row.spread,
            all=row.accuracies,
        )
    report.table(
        title,
        ["trained on", "images", "accuracy", "seeds"],
        [[r.name, r.images, f"{100 * r.mean:.1f} ± {100 * r.spread:.1f} %", len(r.accuracies)] for r in rows],
        numbers=True,
    )


@dataclass(frozen=True, kw_only=True)
class _Students:
    """An evaluation by training, as asked for on the command line."""

    report: Report
    protocol: ProtocolName
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

    def evaluate(
        self, distilled: Sequence[Path], *, train: str | None, test: str, image_size: int | None, page: Path | None
    ) -> None:
        """Train, and tell."""
        from limbeck.evaluate.runs import Evaluator

        self._limit_threads()
        if self.labels is not None and self.protocol != "fkd":
            raise ConfigError(f"--labels are for protocol fkd, not '{self.protocol}'")
        sources = [open_source(folder) for folder in distilled]
        size = image_size or _own_size(sources[0]) or PROTOCOLS[self.protocol]().image_size
        sets = [read_pixels(source, size=size) for source in sources]
        tested = read_pixels(open_source(test), size=size)
        real = None if train is None else read_pixels(open_source(train), size=size)
        stored = read_labels(self.labels) if self.labels is not None and self.labels.exists() else None
        with self._teacher(real, tested, needed=self.protocol != "hard" and stored is None) as teacher:
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
            write_whole(page, html_report(found, sets, title=f"What {distilled[0].name} is worth").encode())
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
                    *(f"{100 * m:.1f} ± {100 * s:.1f} %" for m, s in (w.best, w.last)),
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
