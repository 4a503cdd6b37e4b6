"""Distilled images that are mosaics (NCFM's are 2 by 2): their tiles, each made alone, laid together again."""

from __future__ import annotations

import numpy as np
from PIL import Image

from limbeck.arrays import Images
from limbeck.methods.shared.mosaic import mosaic


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
