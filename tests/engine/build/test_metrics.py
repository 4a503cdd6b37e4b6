from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import spearmanr
from sklearn.covariance import ledoit_wolf

from limbeck.build.metrics import (
    class_mean_distance,
    cosine,
    frechet_distance,
    rank_correlation,
)
from limbeck_kernels.distances import relative_error


def test_relative_error_is_the_length_of_the_difference_in_lengths_of_what_was_expected() -> None:
    assert relative_error(np.array([3.0, 5.0]), np.array([3.0, 4.0])) == pytest.approx(1 / 5)


@pytest.mark.parametrize("found", [np.array([np.nan, 1]), np.array([np.inf, 1]), np.ones(3)])
def test_what_is_not_finite_or_of_another_shape_is_infinitely_wrong(found) -> None:
    assert relative_error(found, np.ones(2)) == np.inf


def test_cosine_does_not_see_length() -> None:
    assert cosine(np.array([6.0, 8.0]), np.array([3.0, 4.0])) == pytest.approx(1)


def test_cosine_of_what_is_not_finite_is_0() -> None:
    assert cosine(np.array([np.nan, 1.0]), np.ones(2)) == 0


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_is_spearmans(rng, ties: bool) -> None:
    a, b = rng.standard_normal((2, 50))
    b += a
    if ties:
        a, b = a.round(), b.round()
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_equal_scores_rank_nothing() -> None:
    assert rank_correlation(np.ones(5), np.arange(5.0)) == 0


def test_frechet_distance_of_a_shift_is_its_square(rng) -> None:
    expected = rng.standard_normal((30, 40))
    _, _, directions = np.linalg.svd(expected - expected.mean(axis=0))
    assert frechet_distance(expected + 3 * directions[1], expected, dimensions=4) == pytest.approx(9)


def test_frechet_distance_is_that_of_the_gaussians_by_a_general_matrix_root(rng) -> None:
    expected = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 3))
    found = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 3))
    a, b = ledoit_wolf(found)[0], ledoit_wolf(expected)[0]
    gap = found.mean(axis=0) - expected.mean(axis=0)
    # turning both sets to the principal directions changes no length
    wanted = gap @ gap + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(found, expected, dimensions=3) == pytest.approx(wanted)


def test_class_means_that_move_apart_do_not_cancel() -> None:
    labels = np.array([0, 0, 1, 1])
    expected = np.zeros((4, 2))
    found = np.array([[1, 0], [3, 0], [-4, 0], [-4, 0]], float)
    assert class_mean_distance(found, expected, labels) == pytest.approx((2 + 4) / 2)
