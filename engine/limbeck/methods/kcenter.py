"""k-center: real images chosen so that no image of the class is far from all of them.

The greedy algorithm of Gonzalez (1985), within twice the best radius, as Sener & Savarese select core-sets with it
("Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018, algorithm 1). Theirs begins with
images that are there already; here the first is the image nearest to the class's mean, and each further one is the
farthest from those before. A smaller set is the beginning of a larger one. Nothing is left to chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from limbeck.arrays import Features
from limbeck.methods.shared.selection import FeatureSelection
from limbeck_kernels.distances import squared_distances


@dataclass(frozen=True, kw_only=True)
class KCenter(FeatureSelection):
    """Real images that cover the class in feature space."""

    name: ClassVar[str] = "kcenter"

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The same: the papers that use it as a baseline do not say how they begin."""
        return cls(ipc=ipc, seed=seed)

    def choose(self, features: Features, class_name: str) -> Sequence[int]:
        return covering(features, self.ipc)


def covering(points: Features, count: int) -> list[int]:
    """The first `count` of the farthest-first order of `points`, shape (n, dimensions); of equals the first."""
    chosen = [int(np.argmin(squared_distances(points, points.mean(axis=0, dtype=np.float64))))]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, squared_distances(points, points[chosen[-1]]))
        # copies of a chosen image are as near as it is: they come last, and it never again
        nearest[chosen[-1]] = -np.inf
        chosen.append(int(np.argmax(nearest)))
    return chosen
