"""SFM: images whose features flow between the classes as those of the real images do.

"Statistical Flow Matching" (release: einsteinxia/SFM), on the machinery of LGM. For a linear classifier with random
weights the expected gradient of a class points from its mean feature to that of the other classes. So:

1. statistics - the mean feature mu_c of every class, of all real images, once;
2. flow       - f_c = (S - mu_c) / (C - 1) - mu_c, with S the sum of the means;
3. match      - optimize pixels so that their own flow has the direction of the real one: 1 - cos over all classes; or
                so that both ends of it, mu_c and the mean of the others, are the real ones (release: sfm_decouple).

No real image is in the loop, and no second derivative. With the set goes the golden head: a linear classifier of the
real images, which another backbone can inherit (`limbeck.evaluate.inheritance`).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np

from limbeck.arrays import ClassIds, Features, Images
from limbeck.data.base import ImageSource
from limbeck.errors import ConfigError
from limbeck.methods.base import Progress, State
from limbeck.methods.shared.by_class import class_counts
from limbeck.methods.shared.pixel_set import Pixels
from limbeck.methods.shared.pixels import PixelMatching, Step, backbone_of, golden_head
from limbeck.models import Models
from limbeck_kernels.flow import flow, flow_loss, means_loss


@dataclass(frozen=True, kw_only=True)
class SFM(PixelMatching):
    """Statistical flow matching; the settings of the pixels are those of `PixelSettings`.

    Args:
        divide_by_images: Divide the synthetic flow by the number of *images* less one, as the release does. For several
            images a class that shrinks the mean of the other classes to about 1 / ipc; the number of *classes* less one
            is what makes it a mean.
        match: What is matched: "flow", by its direction, or "means", both ends of it by their mean square (release:
            `sfm_decouple`). A pack's graph of the loss has the flow only, so "means" always takes the features first
            and then their gradient: one more pass forward a step where the whole set fits one call.
        alpha: For match=means, what the means of the classes count for, 0..1; those of the other classes count for the
            rest. 1 leaves the mean square of the class means.
    """

    name: ClassVar[str] = "sfm"
    divide_by_images: bool = False
    match: Literal["flow", "means"] = "flow"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha must lie in 0..1, got {self.alpha}")

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The release's settings (its scripts run ipc 1 only).

        Quirks kept: the divisor N - 1 for ipc above 1; noise of mean 0.5, half the range of a pixel; 5001 steps, from 0
        to 5000. Its seed is 3407. Not kept: half precision with a loss scale of 1024, ImageNet's normalization for
        every backbone (the pack's own is used), and gradients of the backbone's weights that nothing reads. The golden
        head is a logistic regression with an L2 penalty on the middles of the images, to its optimum; the release's is
        10 epochs of Adam at 0.001 for a batch of 256 and in proportion, batches of 128, on mirrored random crops.
        """
        return cls(ipc=ipc, seed=seed, num_steps=5001, noise_mean=0.5, divide_by_images=True)

    def prepare(self, source: ImageSource, models: Models) -> Generator[Progress, None, State]:
        """The real flow, or the real means, and the golden head."""
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
        stacked = np.stack(means)
        real = {"means": stacked} if self.match == "means" else {"flow": flow(stacked, len(means) - 1)}
        return {**real, **golden_head(kept)}

    def gradient(self, pixels: Pixels, step: Step) -> Generator[Progress, None, tuple[float, list[Images]]]:
        """Where all views fit one engine call, the flow's loss is part of the graph: one pass forward, one back."""
        labels, whole = pixels.labels.repeat(self.augs_per_batch), slice(None)
        if len(labels) > step.models.bucket or self.match == "means":
            return (yield from super().gradient(pixels, step))
        target = step.real["flow"]
        backbone, images = backbone_of(step.models), pixels.images(whole)
        views, parts = pixels.views(images, whole, step.number, backbone.image_size)
        membership, divisor = self._membership(labels, len(target)), self._divisor(len(target))
        loss, gradient = backbone.flow_gradient(views, target.astype(np.float32), membership, divisor=divisor)
        return loss, pixels.pulled(gradient, parts, images)

    def loss(
        self, features: Features, labels: ClassIds, step: Step
    ) -> Generator[Progress, None, tuple[float, Features]]:
        """Of flows one cosine over all classes, so that a class counts by its length; of means their mean square."""
        yield from ()  # no engine runs
        target = step.real[self.match]
        membership, divisor = self._membership(labels, len(target)), self._divisor(len(target))
        if self.match == "means":
            loss, slope = means_loss(features, membership, target, divisor, alpha=self.alpha)
        else:
            loss, slope = flow_loss(features, membership, target, divisor)
        return loss, slope.astype(np.float32)

    def _membership(self, labels: ClassIds, classes: int) -> Features:
        return np.eye(classes, dtype=np.float32)[labels] / np.float32(self.ipc * self.augs_per_batch)

    def _divisor(self, classes: int) -> float:
        return classes * self.ipc - 1 if self.divide_by_images else classes - 1
