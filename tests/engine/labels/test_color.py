from __future__ import annotations

import colorsys

import numpy as np
import pytest

from limbeck.labels.color import GRAY, jitter, lighting


def test_no_amount_changes_nothing(rng: np.random.Generator) -> None:
    images = rng.random((3, 3, 8, 8), dtype=np.float32)
    np.testing.assert_allclose(jitter(images, rng, 0.0), images, atol=1e-6)
    np.testing.assert_allclose(lighting(images, rng, 0.0), images)


def test_jitter_stays_within_the_range_of_colors(rng: np.random.Generator) -> None:
    found = jitter(rng.random((20, 3, 8, 8), dtype=np.float32), rng, 0.9)
    assert found.min() >= 0
    assert found.max() <= 1


def test_the_hue_of_a_flat_image_is_kept(rng: np.random.Generator) -> None:
    """Brightness, contrast and saturation of one color move it toward black or gray, never to another hue."""
    color = np.asarray([0.5, 0.4, 0.3], np.float32)
    images = np.broadcast_to(color[:, None, None], (10, 3, 4, 4))
    for image in jitter(images, rng, 0.4):
        hue, _, _ = colorsys.rgb_to_hsv(*image[:, 0, 0])
        assert hue == pytest.approx(colorsys.rgb_to_hsv(*color)[0], abs=1e-3)


def test_light_moves_every_pixel_of_an_image_alike(rng: np.random.Generator) -> None:
    images = rng.random((4, 3, 8, 8), dtype=np.float32)
    moved = lighting(images, rng, 0.1) - images
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :, :1, :1], moved.shape), atol=1e-6)


def test_light_moves_mostly_along_gray(rng: np.random.Generator) -> None:
    """The first axis of ImageNet's colors is nearly gray and has 92 % of the deviation."""
    shifts = (lighting(np.zeros((2000, 3, 1, 1), np.float32), rng, 0.1))[:, :, 0, 0]
    along = shifts @ np.full(3, 3**-0.5, np.float32)
    assert along.std() == pytest.approx(0.1 * 0.2175, rel=0.1)
    assert np.linalg.norm(shifts - along[:, None] * 3**-0.5, axis=1).mean() < 0.2 * along.std()


def test_the_weights_of_gray_sum_to_one() -> None:
    assert GRAY.sum() == pytest.approx(1)
