"""Runs classifier inheritance: what a backbone gets from a distilled set and the classifier of another backbone.

The published protocol (SFM): fresh views of the distilled images in each epoch, a projector learned on them, the
golden head behind it. Beside it stand the projector in closed form on the same views, and what the backbone would
reach without inheriting: the release's two other modes, a head that learns the labels and one that learns from the
golden head too, and logistic regression on those views.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from limbeck.arrays import Features
from limbeck.backbone import PackBackbone
from limbeck.evaluate.inheritance import ProjectorLearner, inherited, ridge_projector
from limbeck.evaluate.linear import HeadLearner, LinearTraining
from limbeck.evaluate.probe import Accuracy
from limbeck.labels.features import features_of_all
from limbeck.labels.pixels import Pixels, refuse_unlike
from limbeck.linear_head import LinearHead, fit_head

ADAM, RIDGE = "inherited, as published", "inherited, in closed form"
NORMAL, TAUGHT, PROBE = "head on labels", "head on labels and golden head", "probe on distilled"
GOLDEN, ALL_REAL = "golden head, distilling backbone", "probe on all real"


@dataclass(frozen=True, kw_only=True)
class Heirs:
    """Two backbones and the images that join them.

    Args:
        distiller: The backbone that distilled; its head is trained on all real images.
        heir: The backbone that inherits.
        real, test: Real images, the middle of each, at the size of the larger backbone.
        training: Of the projector and the heads; an epoch has fresh views.
        head: The golden head, if it came with the set; None trains one on the real images.
        most_views: The closed form and the probe take the views of so many epochs at most.
        batch: Images in one call of a backbone.
        on_progress: Called with a stage, the number done and the total.
    """

    distiller: PackBackbone
    heir: PackBackbone
    real: Pixels
    test: Pixels
    training: LinearTraining
    head: LinearHead | None = None
    most_views: int = 50
    batch: int = 64
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None

    def compare(self, sets: Sequence[Pixels], *, seeds: int) -> list[Accuracy]:
        """Test accuracies of everything that the module's docstring names, one for each set and seed.

        Raises:
            DataError: The sets differ in size or classes.
        """
        refuse_unlike(sets, self.test, self.real)
        head = self.head or fit_head(self._features(self.distiller, self.real), self.real.labels)
        at_home = head.accuracy(self._features(self.distiller, self.test), self.test.labels)
        tested = self._features(self.heir, self.test)
        whole = fit_head(self._features(self.heir, self.real), self.real.labels)
        found: dict[str, list[float]] = {name: [] for name in (ADAM, RIDGE, NORMAL, TAUGHT, PROBE)}
        pairs = [(part, seed) for part in sets for seed in range(seeds)]
        for number, (part, seed) in enumerate(pairs):

            def count(done: int, number: int = number) -> None:
                epochs = self.training.epochs
                self.on_progress("projector", number * epochs + done, len(pairs) * epochs)

            for name, one in self.heads(part, head, seed=seed, on_epoch=count).items():
                found[name].append(one.accuracy(tested, self.test.labels))
        images, real = len(sets[0].labels), len(self.real.labels)
        return [
            *(Accuracy(name, images, tuple(values)) for name, values in found.items()),
            Accuracy(GOLDEN, real, (at_home,)),
            Accuracy(ALL_REAL, real, (whole.accuracy(tested, self.test.labels),)),
        ]

    def heads(
        self, part: Pixels, golden: LinearHead, *, seed: int, on_epoch: Callable[[int], None] = lambda done: None
    ) -> Mapping[str, LinearHead]:
        """Every head for the heir that one set and the golden head give; all learn from the same views."""
        training = replace(self.training, seed=seed)
        wide, narrow = self.heir.num_features, self.distiller.num_features
        projector = ProjectorLearner(given=wide, wanted=narrow, training=training)
        normal, taught = (
            HeadLearner(part.labels, num_classes=len(part.class_names), dimensions=wide, training=training, use=use)
            for use in ("head", "taught head")
        )
        kept: list[tuple[Features, Features]] = []
        for epoch in range(training.epochs):
            given, wanted = views = self.paired(part, seed=seed, epoch=epoch)
            projector.epoch(views)
            normal.epoch(given)
            taught.epoch(given, golden.logits(wanted))
            if epoch < self.most_views:
                kept.append(views)
            on_epoch(epoch + 1)
        given, wanted = (np.concatenate(side) for side in zip(*kept, strict=True))
        return {
            ADAM: inherited(golden, projector.projector),
            RIDGE: inherited(golden, ridge_projector((given, wanted))),
            NORMAL: normal.head,
            TAUGHT: taught.head,
            PROBE: fit_head(given, np.tile(part.labels, len(kept))),
        }

    def paired(self, part: Pixels, *, seed: int, epoch: int) -> tuple[Features, Features]:
        """Features of one epoch's views by the heir and by the distiller, in the order of the images."""
        views = replace(self.training, seed=seed).views(epoch, len(part.labels), size=part.size)
        given, wanted = (
            features_of_all(backbone, part, views=views, batch=self.batch) for backbone in (self.heir, self.distiller)
        )
        return given, wanted

    def _features(self, backbone: PackBackbone, pixels: Pixels) -> Features:
        return features_of_all(
            backbone,
            pixels,
            batch=self.batch,
            on_images=lambda done, total: self.on_progress("features", done, total),
        )
