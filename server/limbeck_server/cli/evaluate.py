"""`limbeck evaluate`: what a distilled set is worth, beside random and all real images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from limbeck.errors import ConfigError
from limbeck.evaluate.linear import LinearTraining
from limbeck.evaluate.protocols import PROTOCOLS
from limbeck.evaluate.recipe import shortened
from limbeck.evaluate.students import STUDENTS, Student, require_torch
from limbeck_server.cli.evaluate_features import FeatureEvaluation
from limbeck_server.cli.evaluate_sources import Sources
from limbeck_server.cli.evaluate_students import BACKBONE, StudentEvaluation
from limbeck_server.cli.options import (
    BackendOption,
    BackendSetOption,
    PackOption,
    ProviderOption,
    ThreadsOption,
    given_options,
    make_backend,
    refuse_taken_file,
)
from limbeck_server.cli.report import JsonOption, reporting
from limbeck_server.evaluation_options import ProtocolName, refuse_unused


def evaluate(
    context: typer.Context,
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
            help="probe: logistic regression on the pack's backbone. linear: a linear head on it, learned on fresh "
            "crops (LGM, SFM). inheritance: another backbone takes over the classifier of the pack's (SFM). hard: "
            "students on hard labels (IDC, Minimax). soft: a teacher beside them (RDED). fkd: soft labels stored for "
            "each augmentation (SRe2L)."
        ),
    ] = "probe",
    student: Annotated[str, typer.Option(help=f"What is trained: {', '.join(STUDENTS)}.")] = "convnet-3",
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Training runs on each set.",
            show_default="3; of linear 5; of the probe 5, draws of real images",
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="Train on real images too: random, as many, or all; plain: without augmentation too; hard: with hard "
            "labels beside soft ones; may be repeated.",
            metavar="random|all|plain|hard",
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
        int | None,
        typer.Option(min=8, max=4096, help="Height and width for the student.", show_default="the set's own"),
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
        refuse_unused(protocol, given_options(context))
        if train is None and protocol in ("probe", "inheritance"):
            raise ConfigError(f"the protocol {protocol} compares with real images: give --train")
        if heir is None and protocol == "inheritance":
            raise ConfigError("inheritance is for another backbone: give --heir")
        if report_file is not None:
            refuse_taken_file(report_file, "--report")
        if labels is not None and labels.exists() and "teacher" in given_options(context):
            raise ConfigError(f"the soft labels in {labels} are there and have their teacher; leave --teacher out")
        sources = Sources.open(distilled, train, test)
        chosen = make_backend(backend, provider, threads, backend_set, pack=pack)
        if protocol == "probe" or protocol == "linear" or protocol == "inheritance":
            evaluation = FeatureEvaluation(report=report, pack=pack, backend=chosen, sources=sources, page=report_file)
            training = LinearTraining(epochs=shortened(LinearTraining.epochs, scale=scale, epochs=epochs))
            if protocol == "linear":
                evaluation.linear(seeds=seeds or 5, training=training, baselines=baseline or [])
            elif heir is None:
                evaluation.probe(seeds=seeds or 5)
            else:
                evaluation.inheritance(heir=heir, seeds=seeds or 3, training=training)
            return
        require_torch()
        asked = Student.parse(student).with_norm(norm or PROTOCOLS[protocol]().norm)
        StudentEvaluation(
            report=report,
            protocol=protocol,
            student=Student(name=asked.name, norm=asked.norm, width=width),
            pack=pack,
            backend=chosen,
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
        ).evaluate(sources, image_size=image_size, page=report_file)
