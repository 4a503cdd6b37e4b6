"""Labeled images held whole in memory: what students and teachers are trained and tested on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import ClassIds, Images
from limbeck.data.base import Fit, ImageSource
from limbeck.errors import DataError
from limbeck.randomness import generator

MEAN = np.asarray((0.485, 0.456, 0.406), np.float32)[:, None, None]
STD = np.asarray((0.229, 0.224, 0.225), np.float32)[:, None, None]
"""ImageNet's, which every published protocol normalizes with."""


@dataclass(frozen=True)
class Pixels:
    """Every image of a source at one size, in label order.

    Args:
        images: Shape (images, 3, size, size), 0..255.
        labels: Shape (images,), class ids.
        class_names: In label order.
    """

    images: NDArray[np.uint8]
    labels: ClassIds
    class_names: tuple[str, ...]

    @property
    def size(self) -> int:
        """Height and width of an image."""
        return int(self.images.shape[-1])

    @property
    def ipc(self) -> int:
        """Images of the smallest class: the images per class, where all have as many."""
        return int(np.bincount(self.labels, minlength=len(self.class_names)).min())

    def floats(self, rows: NDArray[np.integer] | slice) -> Images:
        """Some of the images, in [0, 1]."""
        return self.images[rows].astype(np.float32) / np.float32(255)

    def digest(self) -> str:
        """SHA-256 of what the images show and of their labels."""
        content = hashlib.sha256(repr((self.images.shape, self.class_names)).encode())
        content.update(self.labels.astype("<i8").tobytes())
        content.update(np.ascontiguousarray(self.images).tobytes())
        return content.hexdigest()

    def _about(self) -> str:
        names = ", ".join(self.class_names[:5]) + (", …" if len(self.class_names) > 5 else "")
        return f"{len(self.class_names)} classes ({names}) at {self.size} px"

    def random_subset(self, *, ipc: int, seed: int) -> Pixels:
        """`ipc` images of each class without replacement: the baseline of every method.

        A class's draw depends on its name and the seed, not on the other classes.

        Raises:
            DataError: A class has fewer than `ipc` images.
        """
        rows = []
        for label, name in enumerate(self.class_names):
            members = np.flatnonzero(self.labels == label)
            if len(members) < ipc:
                raise DataError(f"class '{name}' has {len(members)} images, fewer than ipc={ipc}")
            rows.append(np.sort(generator(seed, name, 0, "random subset").choice(members, ipc, replace=False)))
        chosen = np.concatenate(rows)
        return Pixels(self.images[chosen], self.labels[chosen], self.class_names)


def read_pixels(source: ImageSource, *, size: int, fit: Fit = "crop", batch: int = 64) -> Pixels:
    """All images of `source` at `size`, in label order.

    Raises:
        DataError: An image cannot be read.
    """
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for class_id in range(len(source.class_names)):
        for part in source.images(class_id, size=size, fit=fit, batch=batch):
            images.append(np.rint(part * np.float32(255)).astype(np.uint8))
            labels += [class_id] * len(part)
    return Pixels(np.concatenate(images), np.asarray(labels, np.int64), tuple(source.class_names))


def normalized(images: Images) -> Images:
    """Images in [0, 1] as networks take them: ImageNet's mean and standard deviation."""
    return (images - MEAN) / STD


def refuse_unlike(distilled: Sequence[Pixels], test: Pixels, real: Pixels | None) -> None:
    """Refuse sets that cannot be compared.

    Raises:
        DataError: Class names, their order or the size of the images differ, or the distilled sets' number of images.
    """
    first = distilled[0]
    others = [("another distilled set", part) for part in distilled[1:]] + [("the test images", test)]
    if real is not None:
        others.append(("the real training images", real))
    for what, other in others:
        if other.class_names != first.class_names or other.size != first.size:
            raise DataError(
                f"the sets cannot be compared: the distilled set has {first._about()}, {what} {other._about()}; names, "
                "order and size must be the same"
            )
    if len({len(part.labels) for part in distilled}) != 1:
        raise DataError(f"the distilled sets differ in size: {[len(part.labels) for part in distilled]} images")
