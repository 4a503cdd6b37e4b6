"""Classifier inheritance: the projector's own truth, both ways to find it, and what a head makes of it."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from limbeck.errors import ConfigError
from limbeck.evaluate.inheritance import Projector, ProjectorLearner, inherited, ridge_projector
from limbeck.evaluate.linear import LinearTraining
from limbeck.linear_head import fit_head

RNG = np.random.default_rng(0)
REAL = RNG.standard_normal((60, 8), dtype=np.float32)
LABELS = (REAL @ RNG.standard_normal((8, 3), dtype=np.float32)).argmax(axis=1)
HEAD = fit_head(REAL, LABELS)


def mixed(features, *, width=6, noise=0.0):
    """What another backbone might see: a linear map of the features, and perhaps something else."""
    rng = np.random.default_rng(1)
    seen = features @ rng.standard_normal((8, width)) + 0.5
    return (seen + noise * rng.standard_normal(seen.shape)).astype(np.float32)


def learned(views, **training):
    """A projector that saw the same views in every epoch."""
    settings = LinearTraining(**training)
    one = ProjectorLearner(given=views[0].shape[1], wanted=views[1].shape[1], training=settings)
    for _ in range(settings.epochs):
        one.epoch(views)
    return one.projector


def test_the_same_backbone_needs_nothing_but_the_identity():
    """Loss 0, and the golden head's own accuracy."""
    identity = Projector(np.eye(8, dtype=np.float32), np.zeros(8, np.float32))
    assert identity.loss((REAL, REAL)) == 0
    assert inherited(HEAD, identity).accuracy(REAL, LABELS) == HEAD.accuracy(REAL, LABELS)


@pytest.mark.parametrize("penalty", [0.0, 1e-9])
def test_on_the_same_backbone_the_closed_form_finds_the_identity(penalty):
    found = ridge_projector((REAL, REAL), penalty=penalty)
    np.testing.assert_allclose(found.weight, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(found.bias, 0, atol=1e-5)


def test_on_the_same_backbone_adam_comes_to_the_golden_heads_accuracy():
    found = learned((REAL, REAL), epochs=1500, projector_rate=0.1)
    assert found.loss((REAL, REAL)) < 1e-4
    assert inherited(HEAD, found).accuracy(REAL, LABELS) == pytest.approx(HEAD.accuracy(REAL, LABELS), abs=0.02)


def test_the_closed_form_is_least_squares():
    views = mixed(REAL, noise=0.3), REAL
    found, expected = ridge_projector(views, penalty=0), LinearRegression().fit(*views)
    np.testing.assert_allclose(found.weight, expected.coef_, atol=1e-4)
    np.testing.assert_allclose(found.bias, expected.intercept_, atol=1e-4)


def test_the_penalty_is_ridges_in_parts_of_the_variance():
    views = mixed(REAL, noise=0.3), REAL
    found = ridge_projector(views, penalty=0.1)
    expected = Ridge(alpha=0.1 * len(REAL) * views[0].astype(np.float64).var(axis=0).mean()).fit(*views)
    np.testing.assert_allclose(found.weight, expected.coef_, atol=1e-4)


@pytest.mark.parametrize("scale", [0.01, 100])
def test_the_scale_of_the_features_does_not_matter(scale):
    views = mixed(REAL), REAL
    plain, scaled = ridge_projector(views), ridge_projector((np.float32(scale) * views[0], REAL))
    np.testing.assert_allclose(scaled(np.float32(scale) * views[0]), plain(views[0]), atol=1e-4)


def test_adam_comes_to_the_closed_form():
    views = mixed(REAL, width=8, noise=0.1), REAL
    adam = learned(views, epochs=3000, projector_rate=0.1)
    assert adam.loss(views) < 1.05 * ridge_projector(views, penalty=0).loss(views)


def test_a_seed_fixes_the_projector():
    one, again, other = (learned((REAL, REAL), epochs=3, batch=7, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.weight, again.weight)
    assert not np.array_equal(one.weight, other.weight)


def test_an_inherited_head_is_the_head_behind_the_projector():
    projector = Projector(RNG.standard_normal((8, 6)), RNG.standard_normal(8))
    features = mixed(REAL)
    np.testing.assert_allclose(
        inherited(HEAD, projector).logits(features), HEAD.logits(projector(features)), rtol=1e-5, atol=1e-5
    )


def test_another_backbone_that_sees_as_much_inherits_the_accuracy():
    """Its projector is learned on other images than the head."""
    distilled = RNG.standard_normal((40, 8), dtype=np.float32)
    projector = ridge_projector((mixed(distilled, width=8), distilled), penalty=1e-9)
    assert inherited(HEAD, projector).accuracy(mixed(REAL, width=8), LABELS) == HEAD.accuracy(REAL, LABELS)


def test_too_few_views_need_a_penalty():
    few = np.ones((3, 50), np.float32), np.ones((3, 8), np.float32)
    with pytest.raises(ConfigError, match="3 views do not decide a projector from 50 dimensions"):
        ridge_projector(few, penalty=0)


def test_a_negative_penalty_is_refused():
    with pytest.raises(ConfigError, match="penalty must be at least 0, got -1"):
        ridge_projector((REAL, REAL), penalty=-1)
