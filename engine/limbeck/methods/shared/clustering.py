"""k-means over latents that come batch by batch, two ways: held in memory, or a mini-batch at a time.

scikit-learn does the clustering, on one thread: its parallel sums are added in the order the threads finish, and a
result must be the same in every run.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal, Protocol

import numpy as np

from limbeck.arrays import Array, Latents

Clustering = Literal["full", "minibatch"]


COPIES = 5
"""How many times the clustered vectors are held at the worst moment, or as much as that: as they came, joined,
centered, and the distances. 4.5 measured on wide vectors."""


class Clusters(Protocol):
    """Takes latents, gives the centers of their clusters."""

    def add(self, latents: Latents) -> None:
        """Take a batch of shape (n, …)."""
        ...

    def centers(self) -> Array:
        """Shape (clusters, dimensions), float32. As many latents as clusters must have been added."""
        ...


class FullKMeans:
    """Lloyd's k-means over all latents at once, the best of 10 starts.

    Args:
        clusters: How many centers.
        seed: Fixes the starts.
    """

    def __init__(self, clusters: int, *, seed: int) -> None:
        """Start with nothing."""
        self._clusters = clusters
        self._seed = seed
        self._held: list[Array] = []

    def add(self, latents: Latents) -> None:
        self._held.append(_flat(latents))

    def centers(self) -> Array:
        from sklearn.cluster import KMeans

        with _one_thread():
            fitted = KMeans(self._clusters, n_init=10, random_state=self._seed).fit(np.concatenate(self._held))
        return np.asarray(fitted.cluster_centers_, np.float32)


class StreamedKMeans:
    """Mini-batch k-means (Sculley 2010) over latents that are never held all at once, in a drawn order.

    Latents often come sorted, by name or by content, and the start is chosen among the first of them. So `buffer` are
    held, and the next one is drawn from these. The order depends on that number and on `shuffle` alone, not on how many
    latents come at a time.

    Args:
        clusters: How many centers.
        chunk: Latents in one mini-batch, at least `clusters`. What is left at the end is a smaller one.
        buffer: Latents among which the next one is drawn; as many as come make every order as likely, 1 keeps theirs.
        seed: Fixes the start, which is chosen among the first mini-batch.
        shuffle: Draws the order.
    """

    def __init__(self, clusters: int, *, chunk: int, buffer: int, seed: int, shuffle: np.random.Generator) -> None:
        """Start with nothing."""
        from sklearn.cluster import MiniBatchKMeans

        self._chunk = chunk
        self._buffer = buffer
        self._shuffle = shuffle
        self._fitted = MiniBatchKMeans(clusters, batch_size=chunk, n_init="auto", random_state=seed)
        self._waiting: list[Array] = []
        self._drawn: list[Array] = []

    def add(self, latents: Latents) -> None:
        for point in _flat(latents):
            # a copy: a row alone would keep its whole batch
            self._waiting.append(point.copy())
            if len(self._waiting) > self._buffer:
                self._draw(int(self._shuffle.integers(self._buffer)))

    def centers(self) -> Array:
        while self._waiting:
            self._draw(int(self._shuffle.integers(len(self._waiting))))
        if self._drawn:
            self._fit()
        return np.asarray(self._fitted.cluster_centers_, np.float32)

    def _draw(self, place: int) -> None:
        """Take the latent at `place`, and the last one comes there."""
        last = self._waiting.pop()
        if place < len(self._waiting):
            last, self._waiting[place] = self._waiting[place], last
        self._drawn.append(last)
        if len(self._drawn) == self._chunk:
            self._fit()

    def _fit(self) -> None:
        with _one_thread():
            self._fitted.partial_fit(np.stack(self._drawn))
        self._drawn = []


@cache
def warm_up() -> None:
    """Cluster some points, so that libraries are loaded and have their buffers: 30 to 60 MiB, once a process."""
    points = np.random.default_rng(0).standard_normal((256, 1024), dtype=np.float32)
    streamed = StreamedKMeans(8, chunk=64, buffer=1, seed=0, shuffle=np.random.default_rng(0))
    for clusters in (FullKMeans(8, seed=0), streamed):
        clusters.add(points)
        clusters.centers()


def _flat(latents: Latents) -> Array:
    return latents.reshape(len(latents), -1)


@contextmanager
def _one_thread() -> Iterator[None]:
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        # fewer distinct images than clusters: centers repeat, and so do the distilled images
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
