"""What a distilled set is worth to a frozen backbone: linear probes, and classifier inheritance."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from limbeck.backbone import open_backbone
from limbeck.backends.base import Backend
from limbeck.data.distilled import DistilledSet
from limbeck.data.source import open_source
from limbeck.data.stored import StoredSource
from limbeck.evaluate.heads import LinearHeads
from limbeck.evaluate.heirs import Heirs
from limbeck.evaluate.linear import LinearTraining
from limbeck.evaluate.probe import Accuracy, compare, extract, refuse_other_classes
from limbeck.labels.pixels import read_pixels
from limbeck.linear_head import LinearHead
from limbeck.pack import Pack
from limbeck_server.cli.report import Report


def probe(
    report: Report, distilled: Sequence[str], train: str, test: str, *, pack: str, backend: Backend, seeds: int
) -> None:
    """Logistic regression on the features of the pack's backbone: distilled, as many random, all real images."""
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


def linear(
    report: Report,
    distilled: Sequence[Path],
    train: str | None,
    test: str,
    *,
    pack: str,
    backend: Backend,
    seeds: int,
    training: LinearTraining,
    baselines: Sequence[str],
) -> None:
    """A linear head on the pack's backbone, learned on fresh views (LGM, SFM).

    Args:
        report: Told of steps and results.
        distilled: Sets that differ in their seed.
        train, test: Real images; training images are for the baselines.
        pack: Whose backbone.
        backend: What runs it.
        seeds: How many heads on each set.
        training: Of a head.
        baselines: "random", "all".
    """
    with open_backbone(Pack.open(pack), backend) as backbone, report.progress():
        size = backbone.image_size
        heads = LinearHeads(
            backbone=backbone,
            test=read_pixels(open_source(test), size=size),
            training=training,
            seeds=seeds,
            on_progress=report.step,
        )
        rows = heads.compare(
            [read_pixels(open_source(folder), size=size) for folder in distilled],
            real=None if train is None else read_pixels(open_source(train), size=size),
            baselines=baselines,
        )
    _tell_accuracies(report, rows, "test accuracy of linear heads on the pack's backbone")
    _tell_overrides(report, training)


def inheritance(
    report: Report,
    distilled: Sequence[Path],
    train: str,
    test: str,
    *,
    packs: tuple[str, str],
    backend: Backend,
    seeds: int,
    training: LinearTraining,
) -> None:
    """The classifier of the first pack's backbone, on that of the second (SFM).

    Args:
        report: Told of steps and results.
        distilled: Sets that differ in their seed.
        train, test: Real images.
        packs: Whose backbone distilled, and whose inherits.
        backend: What runs both.
        seeds: How many trainings.
        training: Of the projector and the heads.
    """
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
    _tell_overrides(report, training)


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


def _tell_overrides(report: Report, training: LinearTraining) -> None:
    published = LinearTraining().epochs
    if training.epochs != published:
        report.say(f"not as published: epochs is {training.epochs}, published {published}")
