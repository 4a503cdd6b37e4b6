"""SFM: images whose features flow between the classes as those of the real images do.

"Statistical Flow Matching" (release: einsteinxia/SFM), on the machinery of LGM. For a linear classifier with random
weights the expected gradient of a class points from its mean feature to that of the other classes. So:

1. statistics - the mean feature mu_c of every class, of all real images, once;
2. flow       - f_c = (S - mu_c) / (C - 1) - mu_c, with S the sum of the means;
3. match      - optimize pixels so that their own flow has the direction of the real one: 1 - cos over all classes.

No real image is in the loop, and no second derivative. With the set goes the golden head: a linear classifier of the
real images, which another backbone can inherit (`limbeck.evaluate.inheritance`).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from limbeck.arrays import ClassIds, Features, Images
from limbeck.data.base import ImageSource
from limbeck.methods.base import Progress, State
from limbeck.methods.shared.by_class import class_counts
from limbeck.methods.shared.pixel_set import Pixels
from limbeck.methods.shared.pixels import PixelMatching, Step, backbone_of, golden_head
from limbeck.models import Models
from limbeck_kernels.flow import flow, flow_loss


@dataclass(frozen=True, kw_only=True)
class SFM(PixelMatching):
    """Statistical flow matching; the settings of the pixels are those of `PixelSettings`.

    Args:
        divide_by_images: Divide the synthetic flow by the number of *images* less one, as the release does. For several
            images a class that shrinks the mean of the other classes to about 1 / ipc; the number of *classes* less one
            is what makes it a mean.
    """

    name: ClassVar[str] = "sfm"
    divide_by_images: bool = False

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The release's settings (its scripts run ipc 1 only).

        Quirks kept: the divisor N - 1 for ipc above 1; noise of mean 0.5, half the range of a pixel; 5001 steps, from 0
        to 5000. Not kept: half precision with a loss scale of 1024, ImageNet's normalization for every backbone (the
        pack's own is used), and gradients of the backbone's weights that nothing reads.
        """
        return cls(ipc=ipc, seed=seed, num_steps=5001, noise_mean=0.5, divide_by_images=True)

    def prepare(self, source: ImageSource, models: Models) -> Generator[Progress, None, State]:
        """The real flow, and the golden head."""
        total = sum(class_counts(source))
        means, kept, done = [], [], 0
        for class_id in range(len(source.class_names)):
            count, summed = 0, np.zeros(1)
            for features in self.real_features(class_id, source, models):
                summed = summed + features.sum(axis=0, dtype=np.float64)
                count += len(features)
                kept += [(features, class_id)] if self.golden_head else []
                done += len(features)
                yield Progress("statistics", done, total)
            means.append(summed / count)
        return {"flow": flow(np.stack(means), len(means) - 1), **golden_head(kept)}

    def gradient(self, pixels: Pixels, step: Step) -> Generator[Progress, None, tuple[float, list[Images]]]:
        """Where all views fit one engine call, the loss is part of the graph: one pass forward, one back."""
        labels, target, whole = pixels.labels.repeat(self.augs_per_batch), step.real["flow"], slice(None)
        if len(labels) > step.models.bucket:
            return (yield from super().gradient(pixels, step))
        backbone, images = backbone_of(step.models), pixels.images(whole)
        views, parts = pixels.views(images, whole, step.number, backbone.image_size)
        membership, divisor = self._membership(labels, len(target)), self._divisor(len(target))
        loss, gradient = backbone.flow_gradient(views, target.astype(np.float32), membership, divisor=divisor)
        return loss, pixels.pulled(gradient, parts, images)

    def loss(
        self, features: Features, labels: ClassIds, step: Step
    ) -> Generator[Progress, None, tuple[float, Features]]:
        """One cosine over all classes, so that a class counts by the length of its flow."""
        yield from ()  # no engine runs
        target = step.real["flow"]
        loss, slope = flow_loss(features, self._membership(labels, len(target)), target, self._divisor(len(target)))
        return loss, slope.astype(np.float32)

    def _membership(self, labels: ClassIds, classes: int) -> Features:
        return np.eye(classes, dtype=np.float32)[labels] / np.float32(self.ipc * self.augs_per_batch)

    def _divisor(self, classes: int) -> float:
        return classes * self.ipc - 1 if self.divide_by_images else classes - 1
