"""What a student is shown: batches of augmented images with their targets, in NumPy, drawn by `(seed, epoch)` alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from limbeck.arrays import Array, Images
from limbeck.errors import ConfigError
from limbeck.evaluate.recipe import Recipe
from limbeck.labels.color import jitter, lighting
from limbeck.labels.cutmix import draw_mix
from limbeck.labels.patches import shuffle_patches
from limbeck.labels.pixels import Pixels, normalized
from limbeck.labels.stored import StoredLabels
from limbeck.labels.teacher import Teacher
from limbeck.labels.views import draw_views, view
from limbeck.randomness import generator
from limbeck_kernels.softmax import softmax


@dataclass(frozen=True)
class Batch:
    """One step's worth.

    Args:
        images: Shape (n, 3, size, size), normalized, augmented and mixed.
        targets: Shape (n, classes): probabilities, at the recipe's temperature.
    """

    images: Images
    targets: Array


class Feed(Protocol):
    """The batches of each epoch."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """Those of epoch `number`, counted from 0; the same whatever was asked before."""
        ...


class HardFeed:
    """Augmented images with their own labels, mixed by area.

    Args:
        pixels: The set.
        recipe: How it is augmented.
        seed: What decides every draw.
    """

    def __init__(self, pixels: Pixels, recipe: Recipe, *, seed: int) -> None:
        self._drawn = _Drawn(pixels, recipe, seed)
        self._one_hot = np.eye(len(pixels.class_names), dtype=np.float32)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        for rows, mixed, share, partners in self._drawn.epoch(number):
            own = self._one_hot[self._drawn.pixels.labels[rows]]
            yield Batch(normalized(mixed), share * own + (1 - share) * own[partners])


class TaughtFeed:
    """Augmented images, each labeled by a teacher after it was mixed.

    Args:
        pixels: The set.
        recipe: How it is augmented, and the temperature.
        teacher: Who labels.
        seed: What decides every draw.
    """

    def __init__(self, pixels: Pixels, recipe: Recipe, teacher: Teacher, *, seed: int) -> None:
        self._drawn = _Drawn(pixels, recipe, seed)
        self._teacher = teacher

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        for _, mixed, _, _ in self._drawn.epoch(number):
            targets = softmax(self._teacher.logits(mixed), self._drawn.recipe.temperature)
            yield Batch(normalized(mixed), targets)


class StoredFeed:
    """The images as stored soft labels say that the teacher saw them.

    Args:
        pixels: The set.
        recipe: Its temperature, and batches as large as the stored ones.
        stored: The labels.

    Raises:
        ConfigError: The labels have other batches, which were mixed and cannot be cut anew, or fewer epochs.
        DataError: They are for other images.
    """

    def __init__(self, pixels: Pixels, recipe: Recipe, stored: StoredLabels) -> None:
        if stored.batch_size != recipe.batch_size:
            raise ConfigError(
                f"the labels were stored for batches of {stored.batch_size}, the recipe has {recipe.batch_size}"
            )
        if stored.num_epochs < recipe.epochs:
            raise ConfigError(
                f"the labels were stored for {stored.num_epochs} epoch(s), the recipe has {recipe.epochs}; "
                f"train {stored.num_epochs}, or store labels for all of them"
            )
        stored.refuse_others(pixels)
        self._pixels, self._recipe, self._stored = pixels, recipe, stored

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        for rows, views, mix, logits in self._stored.batches(number):
            images = view(self._pixels.floats(rows), views)
            targets = softmax(logits.astype(np.float32), self._recipe.temperature)
            yield Batch(normalized(mix.images(images)), targets)


@dataclass(frozen=True)
class _Drawn:
    """Augmented batches of a set."""

    pixels: Pixels
    recipe: Recipe
    seed: int

    def epoch(self, number: int) -> Iterator[tuple[Array, Images, float, Array]]:
        """Of each batch: its rows, the mixed images in [0, 1], the share they keep, their partners."""
        recipe, size, count = self.recipe, self.pixels.size, len(self.pixels.labels)
        order = self._generator(number, "order").permutation(count)
        views = draw_views(
            self._generator(number, "views"), count, size=size, scale=recipe.crop_scale, flip=recipe.flip
        )
        for start in range(0, count, recipe.batch_size):
            rows = order[start : start + recipe.batch_size]
            rng = self._generator(number, f"batch {start}")
            images = shuffle_patches(self.pixels.floats(rows), rng, recipe.patches)
            images = view(images, views[rows])
            if recipe.color_jitter:
                images = jitter(images, rng, recipe.color_jitter)
            if recipe.lighting:
                images = lighting(images, rng, recipe.lighting)
            if recipe.cutmix_beta is None:
                yield rows, images, 1.0, np.arange(len(rows))
                continue
            mix = draw_mix(rng, len(rows), size=size, beta=recipe.cutmix_beta)
            yield rows, mix.images(images), mix.share(size), mix.partners

    def _generator(self, epoch: int, use: str) -> np.random.Generator:
        return generator(self.seed, "", epoch, use)
