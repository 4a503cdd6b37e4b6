"""The parts of a mosaic in another order, so that a student cannot learn where in an image a part lies."""

from __future__ import annotations

import numpy as np

from limbeck.arrays import Images


def shuffle_patches(images: Images, rng: np.random.Generator, side: int) -> Images:
    """Each image cut into `side` x `side` equal patches that change places, another order for each image.

    Sun et al., "On the Diversity and Realism of Distilled Dataset", CVPR 2024 (RDED). Where the size is no multiple
    of `side`, the images are returned as they are.
    """
    n, c, size, _ = images.shape
    if side < 2 or size % side:
        return images
    part = size // side
    patches = (
        images.reshape(n, c, side, part, side, part).transpose(0, 2, 4, 1, 3, 5).reshape(n, side**2, c, part, part)
    )
    order = rng.permuted(np.tile(np.arange(side**2), (n, 1)), axis=1)
    moved = np.take_along_axis(patches, order[:, :, None, None, None], axis=1)
    return moved.reshape(n, side, side, c, part, part).transpose(0, 3, 1, 4, 2, 5).reshape(images.shape)
