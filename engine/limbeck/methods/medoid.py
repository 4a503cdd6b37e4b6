"""k-means medoids: the real image nearest to each center of a class's features.

Not of one paper: the plainest way to take representative real images, and what D4M's prototypes are averages around.
k-means with `ipc` centers (Lloyd's, the best of 10 starts), then of each cluster the image nearest to its center, the
largest cluster first. Sets of different size are unrelated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from limbeck.arrays import Features
from limbeck.methods.shared.clustering import COPIES, FullKMeans, warm_up
from limbeck.methods.shared.selection import FeatureSelection
from limbeck.randomness import small_seed
from limbeck_kernels.distances import squared_distances


@dataclass(frozen=True, kw_only=True)
class Medoid(FeatureSelection):
    """Real images nearest to the centers of their class's clusters."""

    name: ClassVar[str] = "medoid"
    copies: ClassVar[int] = COPIES

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The same: no paper to be faithful to."""
        return cls(ipc=ipc, seed=seed)

    def warm_up(self) -> None:
        """scikit-learn, with SciPy and the buffers of its OpenBLAS."""
        warm_up()

    def choose(self, features: Features, class_name: str) -> Sequence[int]:
        clusters = FullKMeans(self.ipc, seed=small_seed(self.seed, class_name, "k-means"))
        clusters.add(features)
        return medoids(features, clusters.centers())


def medoids(points: Features, centers: Features) -> list[int]:
    """One point a center, the nearest of those that are nearer to it than to the other centers; largest cluster first.

    A center without points, where centers coincide, takes the nearest point that is left.
    """
    distances = np.stack([squared_distances(points, center) for center in centers])
    own = distances.argmin(axis=0)
    sizes = np.bincount(own, minlength=len(centers))
    chosen: list[int] = []
    for cluster in np.argsort(-sizes, kind="stable"):
        far = np.where((own == cluster) | (sizes[cluster] == 0), distances[cluster], np.inf)
        far[chosen] = np.inf
        chosen.append(int(np.argmin(far)))
    return chosen
