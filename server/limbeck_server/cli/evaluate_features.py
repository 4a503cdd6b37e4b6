"""What a distilled set is worth to a frozen backbone: linear probes, and classifier inheritance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from limbeck.backbone import open_backbone
from limbeck.backends.base import Backend
from limbeck.data.distilled import DistilledSet
from limbeck.data.stored import StoredSource
from limbeck.durable import write_whole
from limbeck.evaluate.features_report import features_report
from limbeck.evaluate.heads import LinearHeads
from limbeck.evaluate.heirs import Heirs
from limbeck.evaluate.linear import LinearTraining
from limbeck.evaluate.page import percent
from limbeck.evaluate.probe import Accuracy, compare, extract
from limbeck.labels.pixels import read_pixels, with_margin
from limbeck.linear_head import LinearHead
from limbeck.pack import Pack
from limbeck_server.cli.evaluate_sources import Sources
from limbeck_server.cli.report import Report


@dataclass(frozen=True, kw_only=True)
class FeatureEvaluation:
    """An evaluation on features, as asked for on the command line.

    Args:
        report: Told of steps and results.
        pack: Whose backbone.
        backend: What runs it.
        sources: The images.
        page: Where the report to read goes; None writes none.
    """

    report: Report
    pack: str
    backend: Backend
    sources: Sources
    page: Path | None

    def probe(self, *, seeds: int) -> None:
        """Logistic regression: distilled, as many random, all real images."""
        sources = [*self.sources.distilled, self.sources.real, self.sources.test]
        total = sum(len(source.names(i)) for source in sources for i in range(len(source.class_names)))
        done = 0

        def count(images: int) -> None:
            nonlocal done
            done += images
            self.report.step("features", done, total)

        with open_backbone(Pack.open(self.pack), self.backend) as backbone, self.report.progress():
            sets = [extract(source, backbone, on_images=count) for source in sources]
            size = backbone.image_size
        rows = compare(sets[:-2], sets[-2], sets[-1], seeds=seeds)
        self._tell(rows, "logistic regression on features of the pack's backbone", size=size)

    def linear(self, *, seeds: int, training: LinearTraining, baselines: Sequence[str]) -> None:
        """A linear head, learned on fresh views (LGM, SFM)."""
        train = self.sources.train if baselines else None
        with open_backbone(Pack.open(self.pack), self.backend) as backbone, self.report.progress():
            size = backbone.image_size
            heads = LinearHeads(
                backbone=backbone,
                test=read_pixels(self.sources.test, size=size, margin=True),
                training=training,
                seeds=seeds,
                on_progress=self.report.step,
            )
            rows = heads.compare(
                [read_pixels(source, size=with_margin(size)) for source in self.sources.distilled],
                real=None if train is None else read_pixels(train, size=with_margin(size)),
                baselines=baselines,
            )
        title = "linear heads on the pack's backbone, learned on fresh views (LGM, SFM)"
        self._tell(rows, title, size=size, training=training)

    def inheritance(self, *, heir: str, seeds: int, training: LinearTraining) -> None:
        """The classifier of the pack's backbone, on that of the pack `heir` (SFM)."""
        with ExitStack() as stack:
            first, second = (
                stack.enter_context(open_backbone(Pack.open(pack), self.backend)) for pack in (self.pack, heir)
            )
            size = max(first.image_size, second.image_size)
            heirs = Heirs(
                distiller=first,
                heir=second,
                real=read_pixels(self.sources.real, size=size, margin=True),
                test=read_pixels(self.sources.test, size=size, margin=True),
                training=training,
                head=_stored_head(self.sources.distilled[0], Pack.open(self.pack)),
                on_progress=self.report.step,
            )
            stack.enter_context(self.report.progress())
            sets = [read_pixels(source, size=with_margin(size)) for source in self.sources.distilled]
            rows = heirs.compare(sets, seeds=seeds)
        self._tell(rows, "inherited classifiers (SFM)", size=size, training=training)

    def _tell(
        self,
        rows: Sequence[Accuracy],
        what: str,
        *,
        size: int,
        training: LinearTraining | None = None,
    ) -> None:
        not_followed = _overrides(training)
        for row in rows:
            self.report.event(
                "accuracy",
                trained_on=row.name,
                images=row.images,
                mean=row.mean,
                spread=row.spread,
                all=row.accuracies,
                overrides=not_followed,
            )
        self.report.table(
            f"test accuracy of {what}",
            ["trained on", "images", "accuracy", "seeds"],
            [[r.name, r.images, percent(r.mean, r.spread), len(r.accuracies)] for r in rows],
            numbers=True,
        )
        for name, pair in not_followed.items():
            self.report.say(f"not as published: {name} is {pair['used']}, published {pair['published']}")
        if self.page is None:
            return
        shown = read_pixels(self.sources.distilled[0], size=size)
        title = f"What {self.sources.name} is worth"
        about = f"Test accuracy of {what}, {size} px."
        write_whole(
            self.page, features_report(rows, shown, title=title, about=about, not_followed=not_followed).encode()
        )
        self.report.say(f"to read: {self.page}")


def _overrides(training: LinearTraining | None) -> Mapping[str, Mapping[str, object]]:
    published = LinearTraining().epochs
    if training is None or training.epochs == published:
        return {}
    return {"epochs": {"published": published, "used": training.epochs}}


def _stored_head(source: StoredSource, pack: Pack) -> LinearHead | None:
    """The golden head that came with a set that was distilled with this pack."""
    if not isinstance(source, DistilledSet):
        return None
    made_with = (source.manifest.model_extra or {}).get("pack", {})
    arrays = source.arrays()
    if "golden_head_weight" not in arrays or made_with.get("digest") != pack.digest:
        return None
    return LinearHead(arrays["golden_head_weight"], arrays["golden_head_bias"])
