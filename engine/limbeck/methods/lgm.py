"""LGM: images that give a random linear classifier the gradient that real images give it.

Cazenavette et al., "Dataset Distillation for Pre-Trained Self-Supervised Vision Models", 2025. At every step:

1. head  - draw a fresh linear classifier;
2. real  - draw real images, augment each once, and take the classifier's gradient on their features;
3. match - its gradient on views of the synthetic images shall have the same direction: 1 - cos, weights and bias as
           one vector.

The gradient of cross entropy with respect to a linear head is explicit, (P - Y)' Z / N, so what the official code does
by a second backward pass is a formula here (`limbeck_kernels.flow`), and the backbone runs backward once.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import ClassIds, Features
from limbeck.data.base import ImageSource
from limbeck.errors import ConfigError
from limbeck.methods.base import Progress, State
from limbeck.methods.shared.by_class import class_counts
from limbeck.methods.shared.pixels import PixelMatching, Step, backbone_of, golden_head
from limbeck.models import Models
from limbeck.randomness import generator
from limbeck_kernels.augment import Crop, crops
from limbeck_kernels.flow import cosine_loss, head_gradient, head_gradient_adjoint

_WHOLE = ""
"""Stands for the class name where random numbers are for the whole set."""


@dataclass(frozen=True, kw_only=True)
class LGM(PixelMatching):
    """Linear gradient matching; the settings of the pixels are those of `PixelSettings`.

    Args:
        augs_per_batch: Views of each image in a step, and for each of them one of a real image. The release has 10, and
            3 for ImageNet-1K.
        head_std: Spread of the drawn classifier's weights. The paper's text says 1, which would saturate the softmax.
        real_part: The part of a real image's height and width, at a random place, that is cut out before it is
            augmented; 1 shows all of it, as of a synthetic one.
    """

    name: ClassVar[str] = "lgm"
    augs_per_batch: int = 10
    head_std: float = 0.01
    real_part: float = 1.0

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        super().__post_init__()
        if not 0 < self.real_part <= 1:
            raise ConfigError(f"real_part must be above 0 and at most 1, got {self.real_part}")
        if not self.head_std > 0:
            raise ConfigError(f"head_std must be above 0, got {self.head_std}")

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The release's settings.

        Quirks kept: noise of mean 0.5, half the range of a pixel; real images cut at random to 7/8 before they are
        augmented, synthetic ones not; 5001 steps. augs_per_batch is 10, also for ImageNet-1K, for which the release has
        3. Not kept: as for SFM, the golden head among it; the real batch's activations and the weights' gradients,
        which its backward pass computes for nothing. Real images are drawn with replacement, the release's shuffled
        loader shows each once before any again; and the 7/8 are cut out of the middle square of a photo, the release's
        224 pixels out of all of it, its short side being 256.
        """
        return cls(ipc=ipc, seed=seed, num_steps=5001, noise_mean=0.5, real_part=0.875)

    def scratch_nbytes(self, source: ImageSource, models: Models) -> int:
        """All real images, one byte a value: each step draws from all of them."""
        return super().scratch_nbytes(source, models) + 3 * self.side(models) ** 2 * sum(class_counts(source))

    def prepare(self, source: ImageSource, models: Models) -> Generator[Progress, None, State]:
        """The golden head; nothing else outlives a step."""
        if not self.golden_head:
            return {}
        total = sum(class_counts(source))
        kept, done = [], 0
        for class_id in range(len(source.class_names)):
            for features in self.real_features(class_id, source, models):
                kept.append((features, class_id))
                done += len(features)
                yield Progress("statistics", done, total)
        return golden_head(kept)

    def context(self, source: ImageSource, models: Models) -> RealImages:
        """All real images."""
        side, counts = self.side(models), class_counts(source)
        pixels, first = np.empty((sum(counts), 3, side, side), np.uint8), 0
        for class_id in range(len(counts)):
            for images in source.images(class_id, size=side, fit=self.fit, batch=16):
                np.rint(images * 255, out=pixels[first : first + len(images)], casting="unsafe")
                first += len(images)
        return RealImages(pixels, np.repeat(np.arange(len(counts)), counts))

    def loss(
        self, features: Features, labels: ClassIds, step: Step
    ) -> Generator[Progress, None, tuple[float, Features]]:
        """Both gradients of one drawn head."""
        real: RealImages = step.context
        classes = int(real.labels.max()) + 1
        rng = generator(self.seed, _WHOLE, step.number, "head")
        weight = self.head_std * rng.standard_normal((classes, features.shape[1]))
        real_features, real_labels = yield from self._real_batch(len(labels), step)
        target = head_gradient(real_features, real_labels, weight)
        wide = features.astype(np.float64)
        loss, slope = cosine_loss(head_gradient(wide, labels, weight), target)
        return loss, head_gradient_adjoint(slope, wide, labels, weight).astype(np.float32)

    def _real_batch(self, count: int, step: Step) -> Generator[Progress, None, tuple[NDArray[np.float64], ClassIds]]:
        """As many views of real images as there are of synthetic ones, each image drawn alone."""
        real: RealImages = step.context
        rng = generator(self.seed, _WHOLE, step.number, "real images")
        drawn = rng.integers(len(real.labels), size=count)
        offsets = rng.random((count, 2)) * (1 - self.real_part)
        backbone, bucket = backbone_of(step.models), step.models.bucket
        features = []
        for start in range(0, count, bucket):
            part = slice(start, start + bucket)
            images = (real.pixels[drawn[part]] / np.float32(255)).astype(np.float32, copy=False)
            if self.real_part < 1:
                cut = [Crop(top, left, self.real_part, self.real_part) for top, left in offsets[part]]
                images = crops(images, cut, round(images.shape[-1] * self.real_part))
            places = range(start, start + len(images))
            views, _ = self.view(
                images, [_WHOLE] * len(images), places, f"real view {step.number}", backbone.image_size
            )
            features.append(backbone.features(views))
            yield Progress("distill", step.number, self.num_steps)
        return np.concatenate(features).astype(np.float64), real.labels[drawn]


@dataclass(frozen=True, eq=False)
class RealImages:
    """All images of a source.

    Args:
        pixels: Shape (images, 3, side, side), bytes.
        labels: Shape (images,).
    """

    pixels: NDArray[np.uint8]
    labels: ClassIds
