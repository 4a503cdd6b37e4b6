"""Labeled images held whole in memory: what students and teachers are trained and tested on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import ClassIds, Images
from limbeck.data.base import Fit, ImageSource
from limbeck.data.classes import refuse_other_classes
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


def with_margin(size: int) -> int:
    """What published tests and crops read images at whose middle `size` pixels are shown: 256 for 224."""
    return size // 7 * 8


def read_pixels(source: ImageSource, *, size: int, fit: Fit = "crop", margin: bool = False, batch: int = 64) -> Pixels:
    """All images of `source` at `size`, in label order.

    Args:
        source: Where they are.
        size: Height and width.
        fit: How they become square.
        margin: Read them larger (`with_margin`) and keep the middle.
        batch: How many are held as numbers at a time.

    Raises:
        DataError: An image cannot be read.
    """
    read = with_margin(size) if margin else size
    middle = slice((read - size) // 2, (read - size) // 2 + size)
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for class_id in range(len(source.class_names)):
        for part in source.images(class_id, size=read, fit=fit, batch=batch):
            images.append(np.rint(part[..., middle, middle] * np.float32(255)).astype(np.uint8))
            labels += [class_id] * len(part)
    return Pixels(np.concatenate(images), np.asarray(labels, np.int64), tuple(source.class_names))


def normalized(images: Images) -> Images:
    """Images in [0, 1] as networks take them: ImageNet's mean and standard deviation."""
    return (images - MEAN) / STD


def refuse_unlike(distilled: Sequence[Pixels], *others: Pixels) -> None:
    """Refuse sets that cannot be compared.

    Args:
        distilled: Sets that are to differ in their seed only.
        others: What they are compared with.

    Raises:
        DataError: Class names or their order differ, or the distilled sets' size or number of images.
    """
    for other in [*distilled[1:], *others]:
        refuse_other_classes({"the distilled set": distilled[0].class_names, "another": other.class_names})
    if len({(len(part.labels), part.size) for part in distilled}) != 1:
        found = ", ".join(f"{len(part.labels)} images of {part.size} px" for part in distilled)
        raise DataError(f"the distilled sets differ in size: {found}")
