"""Sets of small images whose classes a student can tell apart, and a teacher that knows them."""

from __future__ import annotations

import numpy as np

from limbeck.arrays import Array, Images
from limbeck.labels.pixels import Pixels


def colored(rng: np.random.Generator, *, ipc: int, size: int = 16, classes: int = 3) -> Pixels:
    """Images of noise around a color of their class's own."""
    labels = np.repeat(np.arange(classes), ipc)
    centers = np.full((classes, 3), 60.0)
    centers[np.arange(classes), np.arange(classes) % 3] = 200
    noise = rng.normal(0, 20, (len(labels), 3, size, size))
    images = np.clip(centers[labels][:, :, None, None] + noise, 0, 255).astype(np.uint8)
    return Pixels(images, labels, tuple(f"color {label}" for label in range(classes)))


class ColorTeacher:
    """Says that an image is of the class whose channel is brightest."""

    key = "brightest channel"

    def logits(self, images: Images) -> Array:
        return 20 * images.mean(axis=(2, 3))
