"""Choosing in rounds: k-means, clusters ranked by the median score of their members, one member of each in turn.

The number of clusters is fixed, so the order does not depend on how many are wanted: a shorter choice is the beginning
of a longer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from limbeck.arrays import Array, Features
from limbeck.methods.shared.clustering import FullKMeans
from limbeck_kernels.distances import squared_distances


def in_rounds(features: Features, scores: Array, *, clusters: int, seed: int) -> tuple[list[int], list[int]]:
    """All rows in the order in which they are taken, and the rank of each row's cluster, 0 the best.

    Args:
        features: Shape (rows, dimensions). In each cluster the rows come by their distance to its center.
        scores: Shape (rows,), higher is better.
        clusters: How many; as many as rows where these are fewer.
        seed: Fixes the starts of k-means.
    """
    kmeans = FullKMeans(min(clusters, len(features)), seed=seed)
    kmeans.add(features)
    distances = np.stack([squared_distances(features, center) for center in kmeans.centers()])
    nearest = distances.argmin(axis=0)
    members = [found for number in range(len(distances)) if len(found := np.flatnonzero(nearest == number))]
    members.sort(key=lambda rows: -float(np.median(scores[rows])))
    queues = [rows[np.argsort(distances[nearest[rows[0]], rows], kind="stable")].tolist() for rows in members]
    ranks = {row: rank for rank, queue in enumerate(queues) for row in queue}
    return round_robin(queues), [ranks[row] for row in range(len(features))]


def round_robin(queues: Sequence[Sequence[int]]) -> list[int]:
    """The first of each queue, then the second of each, …; a queue that is used up is passed over."""
    return [row for turn in zip_longest(*queues) for row in turn if row is not None]
