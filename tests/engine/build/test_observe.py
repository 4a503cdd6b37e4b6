from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from limbeck.build.observe import Questions, class_spread, generate, predict, scores, stored
from limbeck.errors import ConfigError
from support.models import gaussian_models

QUESTIONS = Questions(classes=("class 0", "class 2"), per_class=3, steps=4, inversion_steps=3, score_times=2, groups=10)


UNGUIDED = dataclasses.replace(QUESTIONS, guidance=1.0, steps=10)


class Counting:
    """A denoiser that counts its rows."""

    def __init__(self, denoiser) -> None:
        self.denoiser = denoiser
        self.rows = 0

    def __call__(self, latents, times, condition):
        self.rows += len(latents)
        return self.denoiser(latents, times, condition)


def test_the_same_questions_give_the_same_samples() -> None:
    models = gaussian_models()
    one, other = (generate(models, QUESTIONS, draw=0).final for _ in range(2))
    assert np.array_equal(one, other)


def test_another_draw_starts_in_other_noise() -> None:
    models = gaussian_models()
    one, other = (generate(models, QUESTIONS, draw=draw).latents[0] for draw in range(2))
    assert not np.isclose(one, other).any()


def test_samples_are_of_the_class_that_was_asked() -> None:
    final = generate(gaussian_models(means=(-1.0, 0.0, 1.0)), UNGUIDED, draw=0).final
    assert (final[:3].mean(axis=(1, 2, 3)) < 0).all()
    assert (final[3:].mean(axis=(1, 2, 3)) > 0).all()


def test_predictions_are_the_denoisers_at_every_latent_of_the_walk() -> None:
    models = gaussian_models()
    walk = generate(models, QUESTIONS, draw=0)
    condition = models.conditioning.of_classes(QUESTIONS.names)
    found = predict(models, QUESTIONS, walk).conditional
    for step, time in enumerate(walk.times):
        wanted = models.denoiser(walk.latents[step], np.full(6, time), condition)
        np.testing.assert_allclose(found[step], wanted, rtol=1e-6)


def test_a_label_that_fits_scores_higher_than_one_that_does_not() -> None:
    models = gaussian_models(means=(-1.0, 0.0, 1.0))
    images = models.codec.decode(generate(models, UNGUIDED, draw=0).final)
    swapped = dataclasses.replace(UNGUIDED, classes=UNGUIDED.classes[::-1])
    assert scores(models, UNGUIDED, images).mean() > scores(models, swapped, images).mean()


def test_four_windows_of_an_image_are_scored() -> None:
    models = gaussian_models()
    assert scores(models, QUESTIONS, np.full((6, 3, 16, 16), 0.5, np.float32)).shape == (6, 2, 2)


def test_the_spread_of_images_that_are_all_the_same_is_0() -> None:
    images = np.full((6, 3, 16, 16), 0.25, np.float32)
    assert class_spread(gaussian_models(), QUESTIONS, images) == pytest.approx(0, abs=1e-6)


def test_the_price_of_a_candidate_is_the_rows_that_its_network_runs() -> None:
    counting = Counting(gaussian_models().denoiser)
    models = dataclasses.replace(gaussian_models(), denoiser=counting)
    walk = generate(models, QUESTIONS, draw=0)
    predict(models, QUESTIONS, walk)
    images = stored(models.codec.decode(walk.final))
    scores(models, QUESTIONS, images)
    class_spread(models, QUESTIONS, images)
    assert counting.rows == QUESTIONS.denoiser_rows


def test_stored_images_have_256_levels() -> None:
    found = stored(np.linspace(0, 1, 1000, dtype=np.float32))
    assert len(np.unique(found)) == 256


@pytest.mark.parametrize("field", ["per_class", "steps", "inversion_steps", "score_times", "groups"])
def test_questions_that_ask_nothing_are_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field} must be at least 1"):
        dataclasses.replace(QUESTIONS, **{field: 0})
