"""Local semantic awareness: a class in clusters, each as its members from the most typical outwards (EDITS)."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Features
from limbeck.methods.shared.clustering import FullKMeans

Members = NDArray[np.intp]
"""Positions of images in their class."""


def clusters_of(features: Features, count: int, *, seed: int) -> list[Members]:
    """The members of each of `count` k-means clusters, the nearest to its center first.

    Args:
        features: Shape (n, d), at least `count` rows.
        count: How many clusters; the best of 10 starts.
        seed: Fixes the starts.

    Returns:
        Every row is in one cluster. A cluster that is left empty, as happens where rows are equal, has the row nearest
        to its center as its only member.
    """
    kmeans = FullKMeans(count, seed=seed)
    kmeans.add(features)
    distances = np.stack([np.linalg.norm(features - center, axis=1) for center in kmeans.centers()], axis=1)
    nearest = distances.argmin(axis=1)
    found = []
    for cluster in range(count):
        members = np.flatnonzero(nearest == cluster)
        if not members.size:
            members = np.array([distances[:, cluster].argmin()])
        found.append(members[np.argsort(distances[members, cluster], kind="stable")])
    return found


def typical(features: Features, share: float, *, neighbors: int, at_least: int) -> Members:
    """The rows that are no outliers, by the local outlier factor (Breunig et al. 2000).

    Args:
        features: Shape (n, d).
        share: Of the rows, how many are taken for outliers, 0..0.5; 0 keeps all.
        neighbors: To how many neighbors a row's density is compared.
        at_least: So many are kept, the least outlying.

    Returns:
        Positions, rising.
    """
    n = len(features)
    dropped = min(int(share * n), n - at_least)
    if dropped < 1 or n < 3:
        return np.arange(n)
    from sklearn.neighbors import LocalOutlierFactor

    with warnings.catch_warnings():
        # more equal rows than neighbors; then densities are infinite, and none of them is an outlier
        warnings.filterwarnings("ignore", message="Duplicate values")
        factor = LocalOutlierFactor(n_neighbors=min(neighbors, n - 1), n_jobs=1).fit(features).negative_outlier_factor_
    return np.sort(np.argsort(-factor, kind="stable")[: n - dropped])
