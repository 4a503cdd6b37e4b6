"""Batches: what a student is shown, and the targets that go with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from limbeck.errors import ConfigError
from limbeck.evaluate.feeds import Batch, HardFeed, StoredFeed, TaughtFeed
from limbeck.evaluate.recipe import Recipe
from limbeck.labels.pixels import MEAN, STD, Pixels, normalized
from limbeck.labels.relabel import relabel
from limbeck_kernels.softmax import softmax
from support.pixels import ColorTeacher, colored

RECIPE = Recipe(epochs=2, batch_size=5, optimizer="sgd", learning_rate=0.1, weight_decay=0.0)
HARD = replace(RECIPE, crop_scale=(0.5, 1.0), color_jitter=0.4, lighting=0.1, cutmix_beta=1.0)


@pytest.fixture
def pixels(rng: np.random.Generator) -> Pixels:
    return colored(rng, ipc=4)


def joined(batches: list[Batch]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([b.images for b in batches]), np.concatenate([b.targets for b in batches])


def test_without_augmentation_an_epoch_shows_every_image_with_its_own_label(pixels: Pixels) -> None:
    images, targets = joined(list(HardFeed(pixels, replace(RECIPE, flip=0.0), seed=0).epoch(0)))
    wanted = normalized(pixels.floats(slice(None)))
    nearest = np.abs(images[:, None] - wanted[None]).max(axis=(2, 3, 4)).argmin(axis=1)
    assert sorted(nearest.tolist()) == list(range(12))
    np.testing.assert_array_equal(targets.argmax(axis=1), pixels.labels[nearest])
    assert targets.max(axis=1).min() == 1


def test_mixed_targets_have_the_shares_of_the_colors_that_are_seen(rng: np.random.Generator) -> None:
    """Classes of pure red and pure green: the mean color of a mixed image is the target itself."""
    labels = np.arange(10) % 2
    images = np.zeros((10, 3, 16, 16), np.uint8)
    images[np.arange(10), labels] = 255
    pixels = Pixels(images, labels, ("red", "green"))
    batches = list(HardFeed(pixels, replace(RECIPE, cutmix_beta=1.0), seed=0).epoch(0))
    shown, targets = joined(batches)
    np.testing.assert_allclose((shown * STD + MEAN).mean(axis=(2, 3))[:, :2], targets, atol=1e-5)
    assert ((targets > 0.01) & (targets < 0.99)).any()


def test_an_epoch_is_the_same_whatever_was_asked_before(pixels: Pixels) -> None:
    feed = HardFeed(pixels, HARD, seed=0)
    first = joined(list(feed.epoch(1)))[0]
    list(feed.epoch(0))
    np.testing.assert_array_equal(joined(list(feed.epoch(1)))[0], first)


@pytest.mark.parametrize(("seed", "epoch"), [(1, 0), (0, 1)])
def test_another_seed_or_epoch_shows_something_else(seed: int, epoch: int, pixels: Pixels) -> None:
    first = joined(list(HardFeed(pixels, HARD, seed=0).epoch(0)))[0]
    other = joined(list(HardFeed(pixels, HARD, seed=seed).epoch(epoch)))[0]
    assert not np.array_equal(first, other)


def test_a_teacher_labels_the_images_after_they_are_mixed(pixels: Pixels) -> None:
    recipe = replace(RECIPE, cutmix_beta=1.0, temperature=20.0)
    for batch in TaughtFeed(pixels, recipe, ColorTeacher(), seed=0).epoch(0):
        seen = batch.images * STD + MEAN
        np.testing.assert_allclose(batch.targets, softmax(ColorTeacher().logits(seen), 20.0), atol=1e-5)


def test_stored_labels_come_with_the_images_that_the_teacher_saw(pixels: Pixels) -> None:
    stored = relabel(pixels, ColorTeacher(), epochs=2, batch_size=5, crop_scale=(0.3, 1.0), cutmix_beta=1.0, seed=0)
    for batch in StoredFeed(pixels, replace(RECIPE, temperature=20.0), stored).epoch(1):
        seen = batch.images * STD + MEAN
        np.testing.assert_allclose(batch.targets, softmax(ColorTeacher().logits(seen), 20.0), atol=1e-3)


def test_batches_other_than_the_stored_ones_are_refused(pixels: Pixels) -> None:
    stored = relabel(pixels, ColorTeacher(), epochs=1, batch_size=4, crop_scale=(1.0, 1.0), cutmix_beta=1.0, seed=0)
    with pytest.raises(ConfigError, match="stored for batches of 4, the recipe has 5"):
        StoredFeed(pixels, RECIPE, stored)


def test_labels_of_fewer_epochs_than_the_recipe_has_are_refused(pixels: Pixels) -> None:
    stored = relabel(pixels, ColorTeacher(), epochs=1, batch_size=5, crop_scale=(1.0, 1.0), cutmix_beta=1.0, seed=0)
    StoredFeed(pixels, replace(RECIPE, epochs=1), stored)
    with pytest.raises(ConfigError, match=r"stored for 1 epoch\(s\), the recipe has 2; train 1, or store labels"):
        StoredFeed(pixels, replace(RECIPE, epochs=2), stored)
