"""Choosing in rounds, against scikit-learn's own clusters."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans

from limbeck.methods.shared.rounds import in_rounds, round_robin


def clouds() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((3, 4))[np.arange(30) % 3] * 5 + rng.standard_normal((30, 4))
    return features.astype(np.float32), rng.standard_normal(30)


def test_the_nearest_to_each_center_come_first_by_their_clusters_median_score() -> None:
    features, scores = clouds()
    order, ranks = in_rounds(features, scores, clusters=3, seed=7)
    expected = KMeans(3, n_init=10, random_state=7).fit(features)
    by_median = sorted(range(3), key=lambda cluster: -np.median(scores[expected.labels_ == cluster]))
    distances = expected.transform(features)
    for rank, cluster in enumerate(by_median):
        members = np.flatnonzero(expected.labels_ == cluster)
        nearest = members[np.argsort(distances[members, cluster])]
        assert [order[rank], order[rank + 3]] == nearest[:2].tolist()
        assert {ranks[row] for row in members} == {rank}


def test_every_row_is_taken_once() -> None:
    features, scores = clouds()
    order, _ = in_rounds(features, scores, clusters=32, seed=0)
    assert sorted(order) == list(range(30))


def test_equal_rows_leave_clusters_empty_and_are_taken_all_the_same() -> None:
    order, ranks = in_rounds(np.ones((5, 3), np.float32), np.arange(5.0), clusters=4, seed=0)
    assert sorted(order) == list(range(5))
    assert set(ranks) == {0}


def test_a_round_passes_over_clusters_that_are_used_up() -> None:
    assert round_robin([[1], [2, 3, 4], [5, 6]]) == [1, 2, 5, 3, 6, 4]
