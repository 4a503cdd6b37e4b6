"""A source and a codec that are true and tiny."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from limbeck.arrays import Images, Latents
from limbeck.data.base import Fit


class ArraySource:
    """Images held as arrays, one array a class name, read at any size."""

    def __init__(self, classes: Mapping[str, Images]) -> None:
        """Keep the arrays, of shape (n, 3, size, size)."""
        self._classes = dict(classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self._classes)

    def names(self, class_id: int) -> tuple[str, ...]:
        name = self.class_names[class_id]
        return tuple(f"{name}/{i}" for i in range(len(self._classes[name])))

    def images(self, class_id: int, *, size: int, fit: Fit, batch: int, tiles: int = 1) -> Iterator[Images]:
        images = cut(self._classes[self.class_names[class_id]], tiles)
        for start in range(0, len(images), batch):
            yield resized(images[start : start + batch], size)

    def describe(self) -> dict[str, object]:
        return {"kind": "arrays", "classes": {name: len(images) for name, images in self._classes.items()}}


def cut(images: Images, tiles: int) -> Images:
    """Square images cut into `tiles` by `tiles`, those of one image one after another, row by row."""
    n, c, size, _ = images.shape
    side = size // tiles
    parts = images.reshape(n, c, tiles, side, tiles, side).transpose(0, 2, 4, 1, 3, 5)
    return parts.reshape(-1, c, side, side)


def resized(images: Images, size: int) -> Images:
    """Square images at another size: block means where it divides theirs, the nearest pixels otherwise."""
    own = images.shape[-1]
    if own == size:
        return images
    if own % size == 0:
        return block_means(images, own // size)
    nearest = (np.arange(size) * own + own // 2) // size
    return images[:, :, nearest][:, :, :, nearest]


def block_means(images: Images, block: int) -> Images:
    """The means of `block` x `block` pixels."""
    n, c, h, w = images.shape
    means: Images = images.reshape(n, c, h // block, block, w // block, block).mean(axis=(3, 5), dtype=np.float32)
    return means


class BlockCodec:
    """Latents are the means of 4 x 4 blocks of pixels, mapped to [-2, 2]; exact for images that are constant there."""

    def encode(self, images: Images) -> Latents:
        return ((block_means(images, 4) - 0.5) * 4).astype(np.float32)

    def posterior(self, images: Images) -> tuple[Latents, Latents]:
        mean = self.encode(images)
        return mean, np.full_like(mean, 0.01)

    def decode(self, latents: Latents) -> Images:
        pixels = np.clip(latents / 4 + 0.5, 0, 1).astype(np.float32)
        return pixels.repeat(4, axis=2).repeat(4, axis=3)


def blobs(rng: np.random.Generator, *, center: float, count: int, size: int = 16) -> Images:
    """`count` images around a gray level, constant on 4 x 4 blocks."""
    small = np.clip(rng.normal(center, 0.05, (count, 3, size // 4, size // 4)), 0, 1).astype(np.float32)
    return small.repeat(4, axis=2).repeat(4, axis=3)
