"""The linear probe on features whose best classifier is known."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import DataError
from limbeck.evaluate.probe import Accuracy, FeatureSet, compare, linear_probe, random_subsets


def gaussian_classes(rng: np.random.Generator, count: int, *, distance: float, classes: int = 3) -> FeatureSet:
    labels = np.repeat(np.arange(classes), count)
    features = rng.standard_normal((len(labels), 8))
    features[np.arange(len(labels)), labels] += distance
    return FeatureSet(features.astype(np.float32), labels)


def test_classes_far_apart_are_told_apart(rng: np.random.Generator) -> None:
    train, test = (gaussian_classes(rng, 50, distance=20) for _ in range(2))
    assert linear_probe(train, test) == 1.0


def test_two_gaussian_classes_reach_the_accuracy_of_the_best_classifier(rng: np.random.Generator) -> None:
    train, test = (gaussian_classes(rng, 4000, distance=1.0, classes=2) for _ in range(2))
    # centers are sqrt(2) apart, so the best classifier is right with probability Phi(sqrt(2) / 2) = 0.760
    assert linear_probe(train, test) == pytest.approx(0.760, abs=0.015)


def test_classes_that_do_not_differ_give_chance(rng: np.random.Generator) -> None:
    train, test = (gaussian_classes(rng, 400, distance=0) for _ in range(2))
    assert linear_probe(train, test) == pytest.approx(1 / 3, abs=0.06)


def test_random_subsets_have_ipc_images_of_each_class_and_differ_by_seed(rng: np.random.Generator) -> None:
    real = gaussian_classes(rng, 20, distance=1)
    first, second, again = random_subsets(real, ipc=4, seeds=[0, 1, 0])
    assert np.bincount(first.labels).tolist() == [4, 4, 4]
    assert len(np.unique(first.features, axis=0)) == 12
    assert not np.array_equal(first.features, second.features)
    assert np.array_equal(first.features, again.features)


def test_a_class_with_too_few_images_for_a_random_subset_is_named(rng: np.random.Generator) -> None:
    with pytest.raises(DataError, match="has 2 images, fewer than ipc=3"):
        list(random_subsets(gaussian_classes(rng, 2, distance=1), ipc=3, seeds=[0]))


def test_the_comparison_has_three_rows_with_as_many_random_images_as_distilled_ones(
    rng: np.random.Generator,
) -> None:
    distilled = [gaussian_classes(rng, 2, distance=20) for _ in range(3)]
    train, test = (gaussian_classes(rng, 30, distance=20) for _ in range(2))
    rows = compare(distilled, train, test, seeds=4)
    assert [(row.name, row.images, len(row.accuracies)) for row in rows] == [
        ("distilled", 6, 3),
        ("random real", 6, 4),
        ("all real", 90, 1),
    ]


def test_sets_with_other_classes_cannot_be_compared(rng: np.random.Generator) -> None:
    train = gaussian_classes(rng, 5, distance=1)
    with pytest.raises(DataError, match="cannot be compared"):
        compare([gaussian_classes(rng, 2, distance=1, classes=2)], train, train, seeds=1)


def test_mean_and_spread_are_those_of_the_seeds() -> None:
    assert Accuracy("x", 1, (0.5, 0.7)).mean == pytest.approx(0.6)
    assert Accuracy("x", 1, (0.5, 0.7)).spread == pytest.approx(0.1414, abs=1e-4)
    assert Accuracy("x", 1, (0.5,)).spread == 0.0
