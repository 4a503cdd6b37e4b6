"""CutMix: a box of each image is replaced by the same box of another image of the batch.

Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019,
equation 1 and algorithm 1: the box has a share 1 - lambda of the area, lambda ~ Beta(beta, beta), its center lies
anywhere, and where the image's edge cuts it, lambda is what is left of the image in truth. One box a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Array, Images


@dataclass(frozen=True)
class Mix:
    """How a batch is mixed.

    Args:
        partners: Shape (batch,): from which row each image gets its box.
        box: Top, left, bottom, right, in pixels; an empty box mixes nothing.
    """

    partners: NDArray[np.int64]
    box: tuple[int, int, int, int]

    def share(self, size: int) -> float:
        """The part of its own area that an image of `size` by `size` pixels keeps: the paper's lambda."""
        top, left, bottom, right = self.box
        return 1 - (bottom - top) * (right - left) / size**2

    def images(self, images: Images) -> Images:
        """The mixed images; what is given is not changed."""
        top, left, bottom, right = self.box
        mixed = images.copy()
        mixed[:, :, top:bottom, left:right] = images[self.partners, :, top:bottom, left:right]
        return mixed

    def targets(self, targets: Array, size: int) -> Array:
        """Probabilities mixed by area, shape (batch, classes)."""
        share = self.share(size)
        mixed: Array = share * targets + (1 - share) * targets[self.partners]
        return mixed.astype(targets.dtype)


def draw_mix(rng: np.random.Generator, count: int, *, size: int, beta: float) -> Mix:
    """A mix of `count` images of `size` by `size` pixels, with lambda from Beta(beta, beta)."""
    side = int(size * np.sqrt(1 - rng.beta(beta, beta)))
    center = rng.integers(size, size=2)
    top, left = np.clip(center - side // 2, 0, size)
    bottom, right = np.clip(center + side // 2, 0, size)
    return Mix(rng.permutation(count), (int(top), int(left), int(bottom), int(right)))
