"""The self-checks of the typicality score, on a denoiser in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.methods.shared.typicality import loss_differences
from support.gaussian import GaussianDenoiser
from support.models import SCHEDULE

SHAPE = (3, 4, 4)


@pytest.fixture
def denoiser() -> GaussianDenoiser:
    return GaussianDenoiser.random(SCHEDULE, num_classes=2, latent_shape=SHAPE)


@pytest.fixture
def noised() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((6, *SHAPE), np.float32)
    times = rng.integers(100, 700, 6)
    return SCHEDULE.add_noise(rng.standard_normal((6, *SHAPE), np.float32), noise, times), times, noise


def test_swapping_the_conditions_flips_the_sign(denoiser, noised) -> None:
    label, null = denoiser.conditioning.of_classes(["class 1"] * 6), denoiser.conditioning.null(6)
    there, back = loss_differences(denoiser, *noised, label, null), loss_differences(denoiser, *noised, null, label)
    np.testing.assert_array_equal(there, -back)
    assert np.abs(there).min() > 0


def test_equal_conditions_give_exactly_zero(denoiser, noised) -> None:
    label = denoiser.conditioning.of_classes(["class 0"] * 6)
    assert not loss_differences(denoiser, *noised, label, label).any()


def test_it_is_the_difference_of_the_mean_squared_errors_over_channels(denoiser, noised) -> None:
    latents, times, noise = noised
    label, null = denoiser.conditioning.of_classes(["class 1"] * 6), denoiser.conditioning.null(6)
    errors = [((denoiser(latents, times, one) - noise) ** 2).mean(axis=1) for one in (null, label)]
    found = loss_differences(denoiser, latents, times, noise, label, null)
    np.testing.assert_allclose(found, errors[0] - errors[1], rtol=1e-5, atol=1e-6)


def test_the_label_helps_where_the_image_is_of_its_class_and_harms_where_it_is_of_another() -> None:
    # two narrow classes far apart; without a label nothing is known
    denoiser = GaussianDenoiser.of(SCHEDULE, mean=[-2.0, 2.0], std=[0.1, 0.1], latent_shape=SHAPE)
    noise = np.random.default_rng(0).standard_normal((200, *SHAPE), np.float32)
    times = np.full(200, 300)
    clean = np.full((200, *SHAPE), -2.0, np.float32)
    clean[:, :, :, 2:] = 2.0  # the right half shows the other class
    label, null = denoiser.conditioning.of_classes(["class 0"] * 200), denoiser.conditioning.null(200)
    scores = loss_differences(denoiser, SCHEDULE.add_noise(clean, noise, times), times, noise, label, null).mean(axis=0)
    assert scores[:, :2].min() > 0 > scores[:, 2:].max()
