from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.spatial.distance import cdist

from limbeck.methods.kcenter import covering


def radius(points: np.ndarray, chosen: list[int]) -> float:
    """How far the farthest point is from the nearest of the chosen."""
    return float(cdist(points, points[chosen]).min(axis=1).max())


def test_the_first_is_nearest_to_the_mean_and_each_next_the_farthest(rng: np.random.Generator) -> None:
    points = rng.standard_normal((30, 4)).astype(np.float32)
    expected = [int(cdist(points, points.mean(axis=0, dtype=np.float64)[None])[:, 0].argmin())]
    while len(expected) < 10:
        expected.append(int(cdist(points, points[expected]).min(axis=1).argmax()))
    assert covering(points, 10) == expected


def test_the_radius_is_within_twice_the_best_there_is(rng: np.random.Generator) -> None:
    """Gonzalez 1985, against every choice of three."""
    for _ in range(20):
        points = rng.standard_normal((12, 2)).astype(np.float32)
        best = min(radius(points, list(chosen)) for chosen in combinations(range(12), 3))
        assert radius(points, covering(points, 3)) <= 2 * best + 1e-6


def test_copies_of_an_image_come_last() -> None:
    points = np.array([[0.0], [0.0], [0.0], [1.0], [5.0]], np.float32)
    assert set(covering(points, 3)[1:]) & {0, 1, 2} == {0}
    assert sorted(covering(points, 5)) == [0, 1, 2, 3, 4]
