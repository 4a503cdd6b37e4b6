"""What the quality gate measures, as functions of arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Array, ClassIds, Features


def cosine(found: Array, expected: Array) -> float:
    """The cosine of the angle between two arrays taken as vectors, -1..1; 0 where one is zero or not finite."""
    if not np.isfinite(found).all():
        return 0.0
    lengths = np.linalg.norm(found.astype(np.float64)) * np.linalg.norm(expected.astype(np.float64))
    return float(np.vdot(found.astype(np.float64), expected) / lengths) if lengths else 0.0


def rank_correlation(found: Array, expected: Array) -> float:
    """Spearman's: the correlation of the ranks, -1..1, equal values sharing their mean rank; 0 if all are equal."""
    if not np.isfinite(found).all():
        return 0.0
    return cosine(_centered_ranks(found), _centered_ranks(expected))


def frechet_distance(found: Features, expected: Features, *, dimensions: int) -> float:
    """Squared Fréchet distance between Gaussians fitted to two sets of features (Heusel et al. 2017).

    The usual distance needs more images than a backbone has dimensions. Here both sets are projected on the
    `dimensions` principal directions of `expected`, and the covariances are shrunk (Ledoit & Wolf 2004), so that a few
    dozen images give a figure that is comparable with others of the same size. It is no FID.

    Args:
        found: Shape (images, features).
        expected: Shape (images, features); it gives the directions.
        dimensions: How many directions; fewer than images.
    """
    from sklearn.covariance import ledoit_wolf

    center = expected.mean(axis=0)
    _, _, directions = np.linalg.svd(expected - center, full_matrices=False)
    projected = [((part - center) @ directions[:dimensions].T).astype(np.float64) for part in (found, expected)]
    (mean_a, mean_b), (cov_a, cov_b) = (
        [part.mean(axis=0) for part in projected],
        map(_first, map(ledoit_wolf, projected)),
    )
    root = _square_root(cov_a)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def class_mean_distance(found: Features, expected: Features, labels: ClassIds) -> float:
    """The L2 distance between the mean features of a class in two sets, averaged over the classes.

    Args:
        found: Shape (images, features).
        expected: Shape (images, features).
        labels: The class of every image, the same in both sets.
    """
    gaps = [found[labels == label].mean(axis=0) - expected[labels == label].mean(axis=0) for label in np.unique(labels)]
    return float(np.mean([np.linalg.norm(gap) for gap in gaps]))


def _centered_ranks(values: Array) -> NDArray[np.float64]:
    _, places, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    centered: NDArray[np.float64] = ranks[places] - ranks[places].mean()
    return centered


def _first(pair: tuple[NDArray[np.float64], float]) -> NDArray[np.float64]:
    return pair[0]


def _square_root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root
