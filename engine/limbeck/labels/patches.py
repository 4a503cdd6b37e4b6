"""The parts of a mosaic in another order, so that a student cannot learn where in an image a part lies."""

from __future__ import annotations

import numpy as np

from limbeck.arrays import Images


def shuffle_patches(images: Images, rng: np.random.Generator, side: int) -> Images:
    """Each image cut into `side` x `side` equal patches, whose columns and rows change places, anew for each image.

    Sun et al., "On the Diversity and Realism of Distilled Dataset", CVPR 2024 (RDED): patches of a row stay in a row.
    Where the size is no multiple of `side`, the images are returned as they are.
    """
    n, c, size, _ = images.shape
    if side < 2 or size % side:
        return images
    patches = images.reshape(n, c, side, size // side, side, size // side)
    for axis in (4, 2):
        order = rng.permuted(np.tile(np.arange(side), (n, 1)), axis=1)
        places = [n if at == 0 else side if at == axis else 1 for at in range(6)]
        patches = np.take_along_axis(patches, order.reshape(places), axis=axis)
    return patches.reshape(images.shape)
