"""How far arrays and points are from another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROWS = 16
"""Points that are compared at a time: the differences of so many are held, in float64."""


def relative_error(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """|found - expected| / |expected| in L2; infinite where a shape differs or a value is not finite."""
    if found.shape != expected.shape or not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    difference = np.linalg.norm(found.astype(np.float64) - expected)
    scale = np.linalg.norm(expected.astype(np.float64))
    return float(difference / scale) if scale else float("inf" if difference else 0)


def squared_distances(points: NDArray[np.float32], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """|point - target|^2 of each point, shape (points,).

    Differences are squared, and not |p|^2 - 2 p t + |t|^2, which loses what distinguishes points that are close
    together far from the origin.

    Args:
        points: Shape (points, dimensions).
        target: Shape (dimensions,).
    """
    found = np.empty(len(points))
    for start in range(0, len(points), _ROWS):
        difference = points[start : start + _ROWS] - target.astype(np.float64)
        found[start : start + _ROWS] = np.square(difference, out=difference).sum(axis=1)
    return found
