"""How far one array is from another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def relative_error(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """|found - expected| / |expected| in L2; infinite where a shape differs or a value is not finite."""
    if found.shape != expected.shape or not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    difference = np.linalg.norm(found.astype(np.float64) - expected)
    scale = np.linalg.norm(expected.astype(np.float64))
    return float(difference / scale) if scale else float("inf" if difference else 0)
