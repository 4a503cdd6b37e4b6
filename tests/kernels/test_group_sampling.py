from __future__ import annotations

import numpy as np
import pytest

from limbeck_kernels.group_sampling import group_distances


def test_a_group_with_the_statistics_of_its_gaussian_is_at_distance_0() -> None:
    half = 1 / np.sqrt(2)  # two samples at ± 1/√2 have mean 0, unbiased spread 1 and no skew
    group = np.array([[[half, -half], [-half, half]]], np.float32)
    assert group_distances(group, np.array([[0.3, 2.0]])) == pytest.approx(np.zeros((1, 1)), abs=1e-6)


def test_distances_are_those_of_the_samples_themselves(rng) -> None:
    standard = rng.standard_normal((5, 4, 3)).astype(np.float32)
    mean, std = rng.standard_normal((2, 3)), rng.uniform(0.5, 2, (2, 3))
    found = group_distances(standard, std, skew_weight=0.5)
    for label in range(2):
        for group in range(5):
            x = mean[label] + std[label] * standard[group].astype(np.float64)
            center, spread = x.mean(axis=0), x.std(axis=0, ddof=1)
            skew = (((x - center) / spread) ** 3).mean(axis=0)
            wanted = (
                np.linalg.norm(center - mean[label]) + np.linalg.norm(spread - std[label]) + 0.5 * np.linalg.norm(skew)
            )
            assert found[label, group] == pytest.approx(wanted, rel=1e-5)
