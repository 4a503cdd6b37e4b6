from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.labels.cutmix import Mix, draw_mix


@given(st.integers(0, 2**32), st.integers(2, 64), st.floats(0.1, 5))
def test_the_share_is_that_of_the_pixels_an_image_keeps(seed: int, size: int, beta: float) -> None:
    mix = draw_mix(np.random.default_rng(seed), 2, size=size, beta=beta)
    images = np.stack([np.zeros((3, size, size), np.float32), np.ones((3, size, size), np.float32)])
    swapped = Mix(np.asarray([1, 0]), mix.box).images(images)
    assert 1 - swapped[0].mean() == pytest.approx(mix.share(size), abs=1e-5)


def test_boxes_within_the_image_have_the_area_that_beta_draws() -> None:
    """With lambda uniform, a box has side sqrt(1 - lambda): over many draws, half of the area before edges cut it."""
    size, sides = 1000, []
    for seed in range(3000):
        top, left, bottom, right = draw_mix(np.random.default_rng(seed), 1, size=size, beta=1.0).box
        if top > 0 and left > 0 and bottom < size and right < size:
            assert bottom - top == right - left
            sides.append(bottom - top)
    # of lambda uniform, P(side < s) = s^2; a box of side s lies inside with probability (1 - s)^2
    s = np.linspace(0, 1, 10001)
    density = 2 * s * (1 - s) ** 2
    assert np.mean(sides) / size == pytest.approx((s * density).sum() / density.sum(), abs=0.02)


def test_targets_are_mixed_by_area() -> None:
    mix = Mix(np.asarray([1, 0]), (0, 0, 4, 8))
    mixed = mix.targets(np.eye(2, dtype=np.float32), 8)
    np.testing.assert_allclose(mixed, [[0.5, 0.5], [0.5, 0.5]])


def test_mixing_leaves_the_images_it_was_given_alone(rng: np.random.Generator) -> None:
    images = rng.random((3, 3, 8, 8), dtype=np.float32)
    before = images.copy()
    draw_mix(rng, 3, size=8, beta=1.0).images(images)
    np.testing.assert_array_equal(images, before)
