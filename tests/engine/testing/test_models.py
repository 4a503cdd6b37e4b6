"""The closed forms that limbeck ships are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import EngineError
from limbeck.testing.counting import counted
from limbeck.testing.models import LinearBackbone, closed_form_models
from limbeck.testing.sources import resized


def test_the_gradient_of_the_linear_backbone_is_that_of_finite_differences(rng: np.random.Generator) -> None:
    backbone = LinearBackbone()
    images = rng.random((2, 3, 8, 8)).astype(np.float32)
    cotangent = rng.standard_normal((2, 8)).astype(np.float32)
    features, gradient = backbone.vjp(images, cotangent)
    assert np.array_equal(features, backbone.features(images))
    for _ in range(20):
        place = tuple(rng.integers(0, size) for size in images.shape)
        bumped = images.copy()
        bumped[place] += 0.5  # linear: any step will do
        change = ((backbone.features(bumped) - features) * cotangent).sum() / 0.5
        assert gradient[place] == pytest.approx(change, abs=1e-4)


def test_features_do_not_depend_on_what_shares_the_batch(rng: np.random.Generator) -> None:
    images = rng.random((7, 3, 8, 8)).astype(np.float32)
    alone = np.concatenate([LinearBackbone().features(image[None]) for image in images])
    assert np.array_equal(LinearBackbone().features(images), alone)


def test_parts_that_are_not_needed_are_absent() -> None:
    models = closed_form_models(needs={"codec"})
    with pytest.raises(EngineError, match="the backbone was not opened"):
        models.backbone.features(np.zeros((1, 3, 8, 8), np.float32))


def test_counted_networks_answer_as_before_and_count() -> None:
    models, calls = counted(closed_form_models())
    images = np.full((1, 3, 16, 16), 0.5, np.float32)
    assert np.array_equal(models.codec.decode(models.codec.encode(images)), images)
    condition = models.conditioning.of_classes(["class 0"])
    models.denoiser(models.codec.encode(images), np.array([5]), condition)
    assert calls == {"codec.encode": 2, "codec.decode": 1, "denoiser.__call__": 1}


def test_images_are_read_at_any_size(rng: np.random.Generator) -> None:
    images = rng.random((1, 3, 16, 16)).astype(np.float32)
    assert resized(images, 9).shape == (1, 3, 9, 9)
    assert np.array_equal(resized(images, 32), images.repeat(2, axis=2).repeat(2, axis=3))


@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_images_keep_their_mean_at_any_size(rng: np.random.Generator, size: int) -> None:
    images = rng.random((2, 3, 16, 16)).astype(np.float32)
    made = resized(images, size)
    assert made.shape == (2, 3, size, size)
    np.testing.assert_allclose(made.mean(axis=(2, 3)), images.mean(axis=(2, 3)), rtol=1e-5)
