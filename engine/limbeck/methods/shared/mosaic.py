"""Mosaics: images that are composed of `parts` by `parts` patches.

Sun et al., "On the Diversity and Realism of Distilled Dataset", CVPR 2024 (RDED): more of the class in the
pixels of one image.
"""

from __future__ import annotations

from typing import Literal

from limbeck.arrays import Images
from limbeck.errors import ConfigError

Order = Literal["consecutive", "strided"]
"""Which patches share an image: neighbors, so that a smaller set is the beginning of a larger one; or patch j, n + j,
2 n + j, …, as RDED's release has it."""

WHOLE_UP_TO = 64
"""Images up to this many pixels are not composed, as in RDED's scripts: parts of 32 pixels show nothing."""


def usual_parts(image_size: int) -> int:
    """Patches along the side of an image: 2, or 1 where images are small."""
    return 1 if image_size <= WHOLE_UP_TO else 2


def patch_size(image_size: int, parts: int) -> int:
    """Height and width of a patch, in pixels.

    Raises:
        ConfigError: The parts do not fill the image.
    """
    if image_size % parts:
        raise ConfigError(f"images of {image_size} pixels cannot be composed of parts={parts} by {parts} equal patches")
    return image_size // parts


def mosaic(patches: Images, parts: int, *, order: Order = "consecutive") -> Images:
    """Images of `parts` by `parts` patches, filled row by row.

    Args:
        patches: Shape (n * parts**2, 3, size, size), the best first.
        parts: Patches along the side of an image.
        order: Which patches share an image.

    Returns:
        Shape (n, 3, parts * size, parts * size).
    """
    count, channels, size, _ = patches.shape
    each = parts**2
    images = count // each
    grouped = (
        patches.reshape(images, each, channels, size, size)
        if order == "consecutive"
        else patches.reshape(each, images, channels, size, size).swapaxes(0, 1)
    )
    tiles = grouped.reshape(images, parts, parts, channels, size, size)
    return tiles.transpose(0, 3, 1, 4, 2, 5).reshape(images, channels, parts * size, parts * size)


def patches_of_image(image: int, *, images: int, parts: int, order: Order) -> list[int]:
    """The positions of the patches that image `image` of a mosaic of so many images is composed of."""
    each = parts**2
    if order == "consecutive":
        return list(range(image * each, (image + 1) * each))
    return list(range(image, images * each, images))
