"""The contract of an image source: classes in a fixed order, their images one class at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

from limbeck.arrays import Images

Fit = Literal["crop", "squash"]
"""How an image becomes square: `crop` scales the shorter side and cuts the center, `squash` distorts the aspect."""


class ImageSource(Protocol):
    """Labeled images, read a class at a time."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in label order; the position is the class id."""
        ...

    def names(self, class_id: int) -> tuple[str, ...]:
        """One stable name an image of the class, in the order `images` gives them."""
        ...

    def images(self, class_id: int, *, size: int, fit: Fit, batch: int, tiles: int = 1) -> Iterator[Images]:
        """The class's images as batches of at most `batch`, shape (n, 3, size, size). Holds one batch at a time.

        Args:
            class_id: The class.
            size: Height and width to come out.
            fit: How an image becomes square.
            batch: The most that come at a time.
            tiles: Cut every image, as it is stored, into `tiles` by `tiles`, and give each as an image of `size`, row
                by row: none has a pixel of its neighbors.

        Raises:
            UnreadableImagesError: An image cannot be decoded.
        """
        ...

    def describe(self) -> dict[str, object]:
        """What the manifest records: kind, location's base name, class counts, digests of names and content."""
        ...
