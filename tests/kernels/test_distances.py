from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from limbeck_kernels.distances import relative_error, squared_distances


@pytest.mark.parametrize("count", [1, 255, 256, 600])
def test_squared_distances_are_those_of_scipy(rng: np.random.Generator, count: int) -> None:
    points = rng.standard_normal((count, 7)).astype(np.float32)
    target = rng.standard_normal(7)
    expected = cdist(points, target[None], "sqeuclidean")[:, 0]
    np.testing.assert_allclose(squared_distances(points, target), expected, rtol=1e-12)


def test_squared_distances_tell_close_points_far_from_the_origin_apart() -> None:
    points = np.array([[4096.0, 0], [4096.25, 0]], np.float32)
    assert squared_distances(points, np.array([4096.0, 0])).tolist() == [0.0, 0.0625]


def test_squared_distances_change_nothing_they_are_given(rng: np.random.Generator) -> None:
    points, target = rng.standard_normal((5, 3)).astype(np.float32), rng.standard_normal(3)
    before = points.copy(), target.copy()
    squared_distances(points, target)
    assert np.array_equal(points, before[0])
    assert np.array_equal(target, before[1])


def test_a_relative_error_is_the_share_of_the_expected_length() -> None:
    assert relative_error(np.array([3.0, 5.0]), np.array([3.0, 4.0])) == pytest.approx(0.2)


@pytest.mark.parametrize("found", [np.zeros(3), np.array([np.nan, 0.0])])
def test_a_relative_error_is_infinite_for_another_shape_or_what_is_not_finite(found: np.ndarray) -> None:
    assert relative_error(found, np.ones(2)) == float("inf")
