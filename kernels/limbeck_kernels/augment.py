"""Crops of images resampled to another size, mirrored or not, and the same backwards, exactly transposed.

Sampling is bilinear and reads zeros beyond the image, as torch's `grid_sample`. A crop's sides are parallel to the
image's, so it is one matrix on the rows and one on the columns, and the transposes of both lead back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Crop:
    """A part of an image, in fractions of its height and width.

    Args:
        top, left: Where it begins, 0..1.
        height, width: Its size, above 0, at most 1.
        mirrored: Left and right change places.
    """

    top: float
    left: float
    height: float
    width: float
    mirrored: bool = False


def random_crop(
    rng: np.random.Generator, *, scale: tuple[float, float], ratio: tuple[float, float], mirrored: float = 0.5
) -> Crop:
    """A crop of random size and place, as torchvision's RandomResizedCrop, mirrored or not.

    Args:
        rng: Five numbers are taken from it, whatever they are.
        scale: Least and largest part of the image's area, uniform.
        ratio: Least and largest width over height, uniform in the logarithm. A side that would be longer than the
            image is cut to it.
        mirrored: Probability that left and right change places.
    """
    area, shape, top, left, mirror = rng.random(5)
    area = scale[0] + area * (scale[1] - scale[0])
    aspect = ratio[0] * (ratio[1] / ratio[0]) ** shape
    height, width = min(1.0, float(np.sqrt(area / aspect))), min(1.0, float(np.sqrt(area * aspect)))
    return Crop(float(top) * (1 - height), float(left) * (1 - width), height, width, bool(mirror < mirrored))


def central_crop(part: float) -> Crop:
    """The middle of an image, `part` of its height and width."""
    return Crop((1 - part) / 2, (1 - part) / 2, part, part)


def crops(images: Floats, parts: list[Crop], side: int) -> Floats:
    """One crop of each image, (n, channels, height, width) to (n, channels, side, side)."""
    n, channels, height, width = images.shape
    out = np.empty((n, channels, side, side), np.float32)
    for image, part, made in zip(images, parts, out, strict=True):
        down, across = _matrices(part, height, width, side)
        np.matmul(np.matmul(down, image), across.T, out=made)
    return out


def crops_adjoint(gradient: Floats, parts: list[Crop], height: int, width: int) -> Floats:
    """The gradient of the images, of this height and width, from that of their crops."""
    n, channels, side, _ = gradient.shape
    out = np.empty((n, channels, height, width), np.float32)
    for slope, part, made in zip(gradient, parts, out, strict=True):
        down, across = _matrices(part, height, width, side)
        np.matmul(np.matmul(down.T, slope), across, out=made)
    return out


def _matrices(part: Crop, height: int, width: int, side: int) -> tuple[Floats, Floats]:
    down, across = _sampling(part.top, part.height, height, side), _sampling(part.left, part.width, width, side)
    return down, across[::-1] if part.mirrored else across


def _sampling(start: float, length: float, size: int, side: int) -> Floats:
    """The matrix (side, size) that reads `side` pixels between `start` and `start + length` of `size`, bilinearly."""
    places = (start + length * (np.arange(side) + 0.5) / side) * size - 0.5
    left = np.floor(places).astype(np.int64)
    share = places - left
    matrix = np.zeros((side, size), np.float32)
    rows = np.arange(side)
    for place, weight in ((left, 1 - share), (left + 1, share)):
        inside = (place >= 0) & (place < size)
        matrix[rows[inside], place[inside]] = weight[inside]
    return matrix
