"""Probabilities of logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.floating[Any]], temperature: float = 1.0) -> NDArray[Any]:
    """The softmax of `logits / temperature` along the last axis, in the precision of `logits`.

    Args:
        logits: Any shape.
        temperature: Above 0. More than 1 softens, as a teacher's labels are (Hinton et al. 2015, equation 1).
    """
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    probabilities: NDArray[Any] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities
