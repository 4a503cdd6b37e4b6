from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances

from limbeck.methods.medoid import Medoid, medoids


def separated(rng: np.random.Generator, sizes: tuple[int, ...]) -> np.ndarray:
    """Clusters that nothing could mix up, shuffled."""
    points = np.concatenate([rng.normal(20 * i, 1, (size, 5)) for i, size in enumerate(sizes)]).astype(np.float32)
    return points[rng.permutation(len(points))]


def test_of_each_cluster_the_image_nearest_to_its_center_is_taken(rng: np.random.Generator) -> None:
    points = separated(rng, (12, 9, 5))
    fitted = KMeans(3, n_init=10, random_state=1).fit(points)
    distances = pairwise_distances(points, fitted.cluster_centers_)
    expected = {int(np.where(fitted.labels_ == k, distances[:, k], np.inf).argmin()) for k in range(3)}
    assert set(Medoid(ipc=3).choose(points, "class 0")) == expected


def test_the_largest_cluster_comes_first(rng: np.random.Generator) -> None:
    points = separated(rng, (5, 12, 9))
    chosen = Medoid(ipc=3).choose(points, "class 0")
    assert [round(float(points[i].mean()) / 20) for i in chosen] == [1, 2, 0]


def test_one_medoid_is_the_image_nearest_to_the_mean(rng: np.random.Generator) -> None:
    points = rng.standard_normal((50, 6)).astype(np.float32)
    nearest = np.linalg.norm(points - points.mean(axis=0, dtype=np.float64), axis=1).argmin()
    assert Medoid(ipc=1).choose(points, "class 0") == [nearest]


def test_as_many_medoids_as_images_are_the_images(rng: np.random.Generator) -> None:
    assert sorted(Medoid(ipc=7).choose(rng.standard_normal((7, 3)).astype(np.float32), "class 0")) == list(range(7))


def test_a_center_without_images_takes_the_nearest_that_is_left() -> None:
    points = np.array([[0.0], [0.1], [9.0]], np.float32)
    centers = np.array([[0.0], [0.0], [9.0]], np.float32)
    assert medoids(points, centers) == [0, 2, 1]
