"""k-means over a stream of latents, two ways: held in memory, or a mini-batch at a time.

scikit-learn does the clustering, on one thread: its parallel sums are added in the order the threads finish, and a
result must be the same in every run.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np

from limbeck.arrays import Array, Latents

Clustering = Literal["full", "minibatch"]


def kmeans_full(latents: Iterable[Latents], clusters: int, *, seed: int) -> Array:
    """Centers of Lloyd's k-means over all latents, the best of 10 starts.

    Args:
        latents: Batches of shape (n, …); all are held in memory, flattened.
        clusters: How many centers; there must be as many latents.
        seed: Fixes the starts.

    Returns:
        Shape (clusters, dimensions), float32.
    """
    from sklearn.cluster import KMeans

    points = np.concatenate([_flat(batch) for batch in latents])
    with _one_thread():
        fitted = KMeans(clusters, n_init=10, random_state=seed).fit(points)
    return np.asarray(fitted.cluster_centers_, np.float32)


def kmeans_minibatch(latents: Iterable[Latents], clusters: int, *, chunk: int, seed: int) -> Array:
    """Centers of mini-batch k-means (Sculley 2010) over latents that are never held at once.

    Args:
        latents: Batches of shape (n, …).
        clusters: How many centers; there must be as many latents.
        chunk: Latents in one mini-batch, at least `clusters`. What is left at the end is a smaller one.
        seed: Fixes the start, which is chosen among the first mini-batch.

    Returns:
        Shape (clusters, dimensions), float32.
    """
    from sklearn.cluster import MiniBatchKMeans

    fitted = MiniBatchKMeans(clusters, batch_size=chunk, n_init="auto", random_state=seed)
    with _one_thread():
        for points in _chunks(latents, chunk):
            fitted.partial_fit(points)
    return np.asarray(fitted.cluster_centers_, np.float32)


def _chunks(latents: Iterable[Latents], chunk: int) -> Iterator[Array]:
    """The same latents, flattened, in arrays of `chunk` rows; the last may be smaller."""
    held: list[Array] = []
    for batch in latents:
        held.append(_flat(batch))
        if sum(map(len, held)) >= chunk:
            points = np.concatenate(held)
            whole = len(points) // chunk * chunk
            yield from np.split(points[:whole], whole // chunk)
            held = [points[whole:]]
    rest = np.concatenate(held)
    if len(rest):
        yield rest


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
