"""Attention without learned weights: each query's mean of the values, by likeness to their keys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024
"""Queries whose weights are held at a time."""


def attended(
    queries: NDArray[np.floating], keys: NDArray[np.floating], values: NDArray[np.floating], *, temperature: float
) -> NDArray[np.float64]:
    """softmax(queries keysᵀ / temperature) values, row by row.

    Args:
        queries: Shape (n, d).
        keys: Shape (m, d).
        values: Shape (m, e).
        temperature: 0 takes the value of the likest key (of equals the first), infinity the mean of all.

    Returns:
        Shape (n, e). Holds the weights of `BLOCK` queries at a time.
    """
    return np.concatenate(
        [
            _weights(queries[start : start + BLOCK].astype(np.float64) @ keys.T, temperature) @ values
            for start in range(0, len(queries), BLOCK)
        ]
    )


def _weights(scores: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    if temperature == 0:
        one_hot: NDArray[np.float64] = np.eye(scores.shape[1])[scores.argmax(axis=1)]
        return one_hot
    powers: NDArray[np.float64] = np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature)
    weights: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return weights
