"""Runs classifier inheritance: what a backbone gets from a distilled set and the classifier of another backbone.

The published protocol (SFM): fresh views of the distilled images in each epoch, a projector learned on them, the golden
head behind it. Beside it stand the projector in closed form, on the same views, and what the heir would reach with the
labels of the distilled images instead (a linear probe on those views).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.arrays import Array, Features
from limbeck.backbone import PackBackbone
from limbeck.errors import ConfigError
from limbeck.evaluate.inheritance import ProjectorTraining, adam_projector, inherited, ridge_projector
from limbeck.evaluate.probe import Accuracy
from limbeck.labels.pixels import Pixels
from limbeck.labels.views import draw_views, resized, view
from limbeck.linear_head import LinearHead, fit_head
from limbeck.randomness import generator

ADAM, RIDGE, PROBE = "inherited, as published", "inherited, in closed form", "probe on distilled"
GOLDEN, ALL_REAL = "golden head, distilling backbone", "probe on all real"


@dataclass(frozen=True, kw_only=True)
class Heirs:
    """Two backbones and the images that join them.

    Args:
        distiller: The backbone that distilled; its head is trained on all real images.
        heir: The backbone that inherits.
        real, test: Real images, at the size of the larger backbone or more.
        training: Of the projector; an epoch has fresh views.
        head: The golden head, if it came with the set; None trains one on the real images.
        crop_scale: Of the views: shares of the area between which crops lie.
        most_views: The closed form and the probe take the views of so many epochs at most.
        batch: Images in one call of a backbone.
        on_progress: Called with a stage, the number done and the total.
    """

    distiller: PackBackbone
    heir: PackBackbone
    real: Pixels
    test: Pixels
    training: ProjectorTraining
    head: LinearHead | None = None
    crop_scale: tuple[float, float] = (0.08, 1.0)
    most_views: int = 50
    batch: int = 64
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None

    def compare(self, sets: Sequence[Pixels], *, seeds: int) -> list[Accuracy]:
        """Test accuracies of everything that the module's docstring names, one for each set and seed.

        Raises:
            ConfigError: The sets differ in size or classes.
        """
        if len({(len(part.labels), part.class_names) for part in (*sets, sets[0])}) != 1:
            raise ConfigError("the distilled sets differ in size or classes and cannot be compared")
        of_sets = sets[0].class_names
        for what, photos in (("training", self.real), ("test", self.test)):
            if photos.class_names != of_sets:
                raise ConfigError(
                    f"the real {what} images have other classes than the distilled sets: {_some(photos.class_names)} "
                    f"instead of {_some(of_sets)}"
                )
        head = self.head or fit_head(self._features(self.distiller, self.real), self.real.labels)
        at_home = head.accuracy(self._features(self.distiller, self.test), self.test.labels)
        tested = self._features(self.heir, self.test)
        whole = fit_head(self._features(self.heir, self.real), self.real.labels)
        found: dict[str, list[float]] = {ADAM: [], RIDGE: [], PROBE: []}
        pairs = [(part, seed) for part in sets for seed in range(seeds)]
        for number, (part, seed) in enumerate(pairs):
            views = _Views(self, part, seed, number, len(pairs))
            training = ProjectorTraining(
                epochs=self.training.epochs, batch=self.training.batch, rate=self.training.rate, seed=seed
            )
            learned = inherited(head, adam_projector(views.epoch, training))
            given, wanted = (np.concatenate(side) for side in zip(*views.kept, strict=True))
            solved = inherited(head, ridge_projector((given, wanted)))
            probed = fit_head(given, np.tile(part.labels, len(views.kept)))
            for name, one in ((ADAM, learned), (RIDGE, solved), (PROBE, probed)):
                found[name].append(one.accuracy(tested, self.test.labels))
        count, real = len(sets[0].labels), len(self.real.labels)
        return [
            *(Accuracy(name, count, tuple(values)) for name, values in found.items()),
            Accuracy(GOLDEN, real, (at_home,)),
            Accuracy(ALL_REAL, real, (whole.accuracy(tested, self.test.labels),)),
        ]

    def paired(self, part: Pixels, *, seed: int, epoch: int) -> tuple[Features, Features]:
        """Features of one epoch's views by the heir and by the distiller, in the order of the images."""
        views = draw_views(generator(seed, "", epoch, "views"), len(part.labels), size=part.size, scale=self.crop_scale)
        shown = view(part.floats(slice(None)), views)
        return self._of(self.heir, shown), self._of(self.distiller, shown)

    def _features(self, backbone: PackBackbone, pixels: Pixels) -> Features:
        starts = range(0, len(pixels.labels), self.batch)
        parts = []
        for start in starts:
            parts.append(self._of(backbone, pixels.floats(slice(start, start + self.batch))))
            self.on_progress("features", min(start + self.batch, len(pixels.labels)), len(pixels.labels))
        return np.concatenate(parts)

    def _of(self, backbone: PackBackbone, images: Array) -> Features:
        return backbone.features(resized(images, backbone.image_size))


class _Views:
    """The views of one run as `adam_projector` asks for them; those of the first epochs are kept."""

    def __init__(self, heirs: Heirs, part: Pixels, seed: int, number: int, runs: int) -> None:
        self._heirs, self._part, self._seed = heirs, part, seed
        self._done, self._total = number * heirs.training.epochs, runs * heirs.training.epochs
        self.kept: list[tuple[Features, Features]] = []

    def epoch(self, number: int) -> tuple[Features, Features]:
        views = self._heirs.paired(self._part, seed=self._seed, epoch=number)
        if number < self._heirs.most_views:
            self.kept.append(views)
        self._heirs.on_progress("projector", self._done + number + 1, self._total)
        return views


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
