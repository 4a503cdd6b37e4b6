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

    def images(self, class_id: int, *, size: int, fit: Fit, batch: int) -> Iterator[Images]:
        """The class's images as batches of at most `batch`, shape (n, 3, size, size). Holds one batch at a time.

        Raises:
            UnreadableImagesError: An image cannot be decoded.
        """
        ...

    def describe(self) -> dict[str, object]:
        """What the manifest records: kind, location's base name, class counts, digests of names and content."""
        ...
