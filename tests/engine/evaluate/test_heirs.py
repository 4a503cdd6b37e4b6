"""Classifier inheritance, run on backbones whose features are known."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.arrays import Features, Images
from limbeck.errors import ConfigError
from limbeck.evaluate.heirs import ADAM, GOLDEN, PROBE, RIDGE, Heirs
from limbeck.evaluate.inheritance import ProjectorTraining
from support.pixels import colored


class Blocks:
    """Features are the mean colors of an image's quarters, in a basis that the seed draws."""

    image_size = 8
    key = "blocks"

    def __init__(self, seed: int) -> None:
        self._basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(12, 12)))[0].astype(np.float32)

    def features(self, images: Images) -> Features:
        n = len(images)
        return images.reshape(n, 3, 2, 4, 2, 4).mean(axis=(3, 5)).reshape(n, 12) @ self._basis


def heirs(rng: np.random.Generator, **more: object) -> Heirs:
    settings = {
        "distiller": Blocks(0),
        "heir": Blocks(1),
        "real": colored(rng, ipc=30),
        "test": colored(rng, ipc=20),
        "training": ProjectorTraining(epochs=60),
    }
    return Heirs(**{**settings, **more})  # type: ignore[arg-type]


def test_a_heir_whose_features_hold_the_same_reaches_the_golden_head(rng: np.random.Generator) -> None:
    rows = {row.name: row for row in heirs(rng).compare([colored(rng, ipc=2)], seeds=2)}
    assert rows[GOLDEN].mean == 1.0
    assert rows[RIDGE].mean == 1.0
    assert rows[PROBE].mean == 1.0
    assert [(rows[name].images, len(rows[name].accuracies)) for name in (ADAM, RIDGE, GOLDEN)] == [
        (6, 2),
        (6, 2),
        (90, 1),
    ]


def test_views_show_both_backbones_the_same_pixels_and_depend_on_seed_and_epoch_alone(
    rng: np.random.Generator,
) -> None:
    same = heirs(rng, heir=Blocks(0))
    part = colored(rng, ipc=2)
    given, wanted = same.paired(part, seed=0, epoch=3)
    np.testing.assert_array_equal(given, wanted)
    np.testing.assert_array_equal(same.paired(part, seed=0, epoch=3)[0], given)
    assert not np.array_equal(same.paired(part, seed=0, epoch=4)[0], given)


def test_sets_of_different_sizes_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ConfigError, match="differ in size or classes"):
        heirs(rng).compare([colored(rng, ipc=2), colored(rng, ipc=3)], seeds=1)
