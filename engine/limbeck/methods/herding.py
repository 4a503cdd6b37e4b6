"""Herding: real images chosen one by one so that the mean of their features stays nearest to that of the class.

Welling, "Herding dynamical weights to learn", ICML 2009, as iCaRL selects exemplars with it (Rebuffi et al., CVPR 2017,
algorithm 4): the k-th image is that with which the mean of the first k comes nearest to the class's mean. A smaller
set is the beginning of a larger one. Nothing is left to chance.
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
class Herding(FeatureSelection):
    """Real images whose mean features follow the class's."""

    name: ClassVar[str] = "herding"
    normalize: bool = True

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The same; that no image is chosen twice is in iCaRL's code, and not in the algorithm."""
        return cls(ipc=ipc, seed=seed)

    def choose(self, features: Features, class_name: str) -> Sequence[int]:
        return herded(features, self.ipc)


def herded(points: Features, count: int) -> list[int]:
    """The first `count` of the herding order of `points`, shape (n, dimensions); of equals the first.

    The mean of the chosen c_1 … c_(k-1) and x is nearest to the mean m of all where x is nearest to
    k m - (c_1 + … + c_(k-1)).
    """
    mean = points.mean(axis=0, dtype=np.float64)
    total = np.zeros_like(mean)
    chosen: list[int] = []
    for k in range(1, count + 1):
        distances = squared_distances(points, k * mean - total)
        distances[chosen] = np.inf
        chosen.append(int(np.argmin(distances)))
        total += points[chosen[-1]]
    return chosen
