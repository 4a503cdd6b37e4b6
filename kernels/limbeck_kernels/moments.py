"""Mean and variance of many vectors in one pass, in bounded memory; two halves of the data can be merged.

Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of `count` vectors.

    Args:
        count: How many.
        mean: Shape (dimensions,).
        squares: Sum of squared distances from `mean` in each dimension, shape (dimensions,).
    """

    count: int
    mean: Vector
    squares: Vector

    @classmethod
    def of(cls, vectors: NDArray[np.floating]) -> Moments:
        """Of vectors of shape (n, dimensions), n at least 1."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        return cls(len(vectors), mean, np.square(vectors - mean).sum(axis=0))

    def merged(self, other: Moments) -> Moments:
        """Of the vectors of both."""
        count = self.count + other.count
        step = other.mean - self.mean
        share = other.count / count
        return Moments(
            count,
            self.mean + step * share,
            self.squares + other.squares + np.square(step) * self.count * share,
        )

    @property
    def variance(self) -> Vector:
        """Unbiased, shape (dimensions,); zero for one vector, of which nothing is known."""
        return self.squares / max(self.count - 1, 1)
