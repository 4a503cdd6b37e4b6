import numpy as np
import pytest

from limbeck.errors import ConfigError
from limbeck.methods.shared.semantic_query import fused_features, in_text_space

WIDTH = 6


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def pairs(rng):
    """Images and captions of one space, each caption near its image."""
    images = rng.normal(size=(12, WIDTH)).astype(np.float32)
    return images, images + rng.normal(0, 0.05, images.shape).astype(np.float32)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def answers(images, texts, **settings):
    """The half of the fused features that the captions answered."""
    return fused_features(images, texts, map_to_texts=False, **settings)[:, images.shape[1] :]


def test_as_tau_goes_to_zero_each_image_takes_its_likest_caption(pairs):
    images, texts = pairs
    likest = unit(texts)[(unit(images) @ unit(texts).T).argmax(axis=1)]
    np.testing.assert_allclose(answers(images, texts, tau=1e-9), likest, rtol=1e-5)


def test_as_tau_goes_to_infinity_each_image_takes_the_mean_of_its_class(pairs):
    images, texts = pairs
    mean = np.repeat(unit(texts).mean(axis=0)[None], 12, axis=0)
    np.testing.assert_allclose(answers(images, texts, tau=1e9), mean, rtol=1e-4, atol=1e-6)


def test_without_normalization_the_longest_caption_answers_all(pairs):
    """The official code's quirk."""
    images, texts = np.abs(pairs[0]), np.abs(pairs[1])
    texts[3] *= 100
    np.testing.assert_allclose(
        answers(images, texts, tau=0.01, normalize=False), np.repeat(texts[3:4], 12, axis=0), rtol=1e-5
    )


def test_both_halves_have_unit_length_images_first(pairs):
    images, texts = pairs
    fused = fused_features(images, texts, tau=1e-9, map_to_texts=False)
    np.testing.assert_allclose(fused[:, :WIDTH], unit(images), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(fused[:, WIDTH:], axis=1), 1, rtol=1e-5)


def test_scaling_an_image_or_a_caption_changes_nothing_once_normalized(pairs, rng):
    images, texts = pairs
    scales = rng.uniform(0.5, 20, (2, 12, 1)).astype(np.float32)
    np.testing.assert_allclose(
        fused_features(images * scales[0], texts * scales[1], tau=0.01, map_to_texts=False),
        fused_features(images, texts, tau=0.01, map_to_texts=False),
        rtol=1e-3,
        atol=1e-5,
    )


def test_networks_that_were_not_trained_together_need_the_map(rng):
    images, texts = rng.normal(size=(12, 6)), rng.normal(size=(12, 4))
    with pytest.raises(ConfigError, match=r"6 features and texts 4.*joint=ridge"):
        fused_features(images, texts, tau=0.01, map_to_texts=False)
    assert fused_features(images, texts, tau=0.01).shape == (12, 10)


@pytest.mark.parametrize("shape", [(14, 5), (8, 40)], ids=["more images", "more features"])
def test_each_image_is_mapped_by_a_ridge_regression_on_the_others(rng, shape):
    from sklearn.linear_model import Ridge

    images = rng.normal(size=shape)
    texts = images[:, :3] + rng.normal(0, 0.3, (len(images), 3))
    squares = np.linalg.svd(images - images.mean(axis=0), compute_uv=False) ** 2
    left_out = {}
    for strength in np.logspace(-2, 3, 11) * squares.mean():
        predicted = []
        for i in range(len(images)):
            rest = np.delete(np.arange(len(images)), i)
            predicted.append(Ridge(alpha=strength).fit(images[rest], texts[rest]).predict(images[i : i + 1])[0])
        left_out[strength] = np.array(predicted)
    best = min(left_out.values(), key=lambda predicted: ((predicted - texts) ** 2).sum())
    np.testing.assert_allclose(in_text_space(images, texts), best, rtol=1e-6, atol=1e-8)


def test_captions_that_images_say_nothing_about_are_not_given_back(rng):
    """A map that had seen the pair would return the caption itself: more features than images."""
    images, texts = rng.normal(size=(20, 200)), rng.normal(size=(20, 5))
    predicted = in_text_space(images, texts)
    likeness = unit(predicted) @ unit(texts).T
    assert (likeness.argmax(axis=1) == np.arange(20)).mean() < 0.3


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_or_equal_images_are_digested(count):
    images, texts = np.ones((count, 4), np.float32), np.eye(5, 3, dtype=np.float32)[:count] + 1
    assert np.isfinite(fused_features(images, texts, tau=0.01)).all()
