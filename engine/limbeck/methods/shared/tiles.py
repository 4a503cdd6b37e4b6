"""Distilled images that are mosaics (NCFM's are 2 by 2), read tile by tile and laid together again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from limbeck.arrays import Images
from limbeck.data.base import Fit, ImageSource
from limbeck.methods.shared.mosaic import mosaic


@dataclass(frozen=True)
class Tiles:
    """The tiles of a source's images, each as an image: those of one image one after another, row by row.

    Args:
        source: Its images are mosaics.
        per_side: Tiles along the side of an image; 1 is the source itself.
    """

    source: ImageSource
    per_side: int

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.source.class_names

    def names(self, class_id: int) -> tuple[str, ...]:
        whole = self.source.names(class_id)
        if self.per_side == 1:
            return whole
        return tuple(f"{name}#{tile}" for name in whole for tile in range(self.per_side**2))

    def images(self, class_id: int, *, size: int, fit: Fit, batch: int) -> Iterator[Images]:
        if self.per_side == 1:
            yield from self.source.images(class_id, size=size, fit=fit, batch=batch)
            return
        # an image at a time: its tiles are as many as a batch usually has
        for whole in self.source.images(class_id, size=size * self.per_side, fit=fit, batch=1):
            cut = whole.reshape(1, 3, self.per_side, size, self.per_side, size).transpose(0, 2, 4, 1, 3, 5)
            tiles = np.ascontiguousarray(cut.reshape(-1, 3, size, size))
            for first in range(0, len(tiles), batch):
                yield tiles[first : first + batch]

    def describe(self) -> dict[str, object]:
        return {**self.source.describe(), "tiles_per_side": self.per_side}


def laid(tiles: Images, *, per_side: int) -> Images:
    """Mosaics of `per_side` squared tiles each, at the size of one tile, scaled down bilinearly.

    Args:
        tiles: Shape (n * per_side**2, 3, size, size), in [0, 1].
        per_side: Tiles along the side of an image.

    Returns:
        Shape (n, 3, size, size).
    """
    if per_side == 1:
        return tiles
    size = tiles.shape[-1]
    return np.stack([_scaled(image, size) for image in mosaic(tiles, per_side)])


def _scaled(image: Images, size: int) -> Images:
    """An image (3, height, width) at another size."""
    planes = [Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR) for plane in image]
    return np.stack([np.asarray(plane, np.float32) for plane in planes])
