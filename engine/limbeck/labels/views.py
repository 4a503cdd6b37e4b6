"""Random crops and flips of a batch, as numbers that can be stored: the same view gives the same pixels anywhere.

A crop that is scaled to a square is a matrix product, `rows @ image @ columns^T`, whose matrices hold the weights of
bilinear interpolation, widened where the crop is scaled down. That is what torchvision's RandomResizedCrop computes
with antialias on; it never looks at pixels outside the crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Array, ClassIds, Images

_ATTEMPTS = 10


@dataclass(frozen=True)
class Views:
    """One crop and flip an image.

    Args:
        boxes: Shape (images, 4): top, left, height, width, in pixels.
        flips: Shape (images,): whether left and right change places.
    """

    boxes: NDArray[np.int16]
    flips: NDArray[np.bool_]

    def __getitem__(self, rows: ClassIds | slice) -> Views:
        """The views of some of the images."""
        return Views(self.boxes[rows], self.flips[rows])

    def __len__(self) -> int:
        return len(self.flips)


def draw_views(
    rng: np.random.Generator,
    count: int,
    *,
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
) -> Views:
    """Views of `count` images of `size` by `size` pixels.

    Args:
        rng: Where the numbers come from.
        count: How many.
        size: Height and width of the images.
        scale: The smallest and the largest share of the area that a crop has; (1, 1) is no crop.
        ratio: The narrowest and the widest crop, width by height, drawn on a logarithmic scale.
        flip: The probability of a flip.

    The first of ten draws that fits into the image counts, and the whole image if none does, as in torchvision.
    """
    shape = (count, _ATTEMPTS)
    area = rng.uniform(*scale, shape) * size**2
    aspect = np.exp(rng.uniform(np.log(ratio[0]), np.log(ratio[1]), shape))
    widths, heights = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    places = rng.random((count, 2))
    flips = rng.random(count) < flip
    fits = (widths >= 1) & (heights >= 1) & (widths <= size) & (heights <= size)
    first = np.arange(count), fits.argmax(axis=1)
    found = fits.any(axis=1)
    width, height = np.where(found, widths[first], size), np.where(found, heights[first], size)
    top, left = np.floor(places[:, 0] * (size - height + 1)), np.floor(places[:, 1] * (size - width + 1))
    return Views(np.stack([top, left, height, width], axis=1).astype(np.int16), flips)


def whole(count: int, size: int) -> Views:
    """Views that change nothing."""
    return Views(np.tile(np.asarray([0, 0, size, size], np.int16), (count, 1)), np.zeros(count, np.bool_))


def view(images: Images, views: Views, *, out: int | None = None) -> Images:
    """Each image through its view, shape (n, 3, out, out); `out` is the images' size unless given."""
    size = images.shape[-1]
    out = out or size
    top, left, height, width = views.boxes.astype(np.float32).T
    rows, columns = _weights(top, height, size, out), _weights(left, width, size, out)
    columns = np.where(views.flips[:, None, None], columns[:, ::-1], columns)
    cut: Images = rows[:, None] @ images @ columns.transpose(0, 2, 1)[:, None]
    return cut


def resized(images: Images, out: int) -> Images:
    """Square images scaled to `out` pixels; the same array if they have them."""
    return images if images.shape[-1] == out else view(images, whole(len(images), images.shape[-1]), out=out)


def _weights(start: Array, length: Array, size: int, out: int) -> Array:
    """Bilinear weights of `size` pixels for each of `out` places on [start, start + length), shape (n, out, size)."""
    step = (length / out)[:, None, None]
    centers = start[:, None, None] + (np.arange(out, dtype=np.float32)[:, None] + np.float32(0.5)) * step
    pixels = np.arange(size, dtype=np.float32)
    weights = np.maximum(1 - np.abs(pixels + np.float32(0.5) - centers) / np.maximum(step, 1), 0)
    end = (start + length)[:, None, None]
    weights = weights * ((pixels >= start[:, None, None]) & (pixels < end))
    normalized: Array = weights / weights.sum(axis=-1, keepdims=True)
    return normalized
