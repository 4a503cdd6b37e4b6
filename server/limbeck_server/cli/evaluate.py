"""`limbeck evaluate`: what a distilled set is worth, beside random and all real images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limbeck.backbone import open_backbone
from limbeck.data.distilled import read_distilled
from limbeck.data.source import open_source
from limbeck.evaluate.probe import compare, extract, refuse_other_classes
from limbeck.pack import Pack
from limbeck_server.cli.options import (
    BackendOption,
    BackendSetOption,
    PackOption,
    ProviderOption,
    ThreadsOption,
    make_backend,
)
from limbeck_server.cli.report import JsonOption, reporting


def evaluate(
    distilled: Annotated[
        list[Path],
        typer.Argument(help="Distilled sets that differ in their seed only; one or more.", show_default=False),
    ],
    train: Annotated[str, typer.Option(help="The real training images.")],
    test: Annotated[str, typer.Option(help="The real test images.")],
    pack: PackOption = "mini",
    seeds: Annotated[int, typer.Option(min=1, help="Random draws of real images.")] = 5,
    backend: BackendOption = "onnxruntime",
    backend_set: BackendSetOption = None,
    provider: ProviderOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure distilled sets with a linear probe.

    Logistic regression on the features of the pack's backbone, trained on the distilled images, on as many random
    real images, and on all real images; accuracy on the real test images, mean and spread over seeds.

    Example: limbeck evaluate distilled --train photos/train --test photos/test
    """
    with reporting(as_json) as report:
        sources = [*map(read_distilled, distilled), open_source(train), open_source(test)]
        refuse_other_classes(sources)
        opened = Pack.open(pack)
        total = sum(len(source.names(i)) for source in sources for i in range(len(source.class_names)))
        done = 0

        def count(images: int) -> None:
            nonlocal done
            done += images
            report.step("features", done, total)

        with (
            open_backbone(opened, make_backend(backend, provider, threads, backend_set, pack=pack)) as backbone,
            report.progress(),
        ):
            sets = [extract(source, backbone, on_images=count) for source in sources]
        rows = compare(sets[:-2], sets[-2], sets[-1], seeds=seeds)
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
            "test accuracy of logistic regression on features of the pack's backbone",
            ["trained on", "images", "accuracy", "seeds"],
            [[r.name, r.images, f"{100 * r.mean:.1f} ± {100 * r.spread:.1f} %", len(r.accuracies)] for r in rows],
            numbers=True,
        )
