"""Images as sums of images of many resolutions, and the same backwards; in float32, and exactly transposed.

    levels (n, c, 1, 1), (n, c, 2, 2), …, (n, c, r, r)   --render-->   (n, c, side, side)

The pyramid of LGM (Cazenavette et al., "Dataset Distillation for Pre-Trained Self-Supervised Vision Models", 2025):
coarse levels move large regions at once, and a finer one is added as the optimization goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@lru_cache(maxsize=64)
def upsampling(small: int, large: int) -> Floats:
    """The matrix (large, small) that upsamples bilinearly between pixel centers, edges held, without antialiasing."""
    places = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    left = np.minimum(np.floor(places).astype(np.int64), max(small - 2, 0))
    share = places - left
    matrix = np.zeros((large, small), np.float32)
    rows = np.arange(large)
    matrix[rows, left] = 1 - share
    matrix[rows, np.minimum(left + 1, small - 1)] += share
    matrix.setflags(write=False)
    return matrix


def render(levels: Sequence[Floats], side: int) -> Floats:
    """The sum of the levels, each upsampled to `side`; shape (images, channels, side, side)."""
    return _sum([_between(level, upsampling(level.shape[-1], side)) for level in levels])


def render_adjoint(gradient: Floats, sides: Sequence[int]) -> list[Floats]:
    """The gradient of each level of these sides, from that of the rendered images."""
    return [_between(gradient, upsampling(side, gradient.shape[-1]).T) for side in sides]


def _between(images: Floats, matrix: Floats) -> Floats:
    """The matrix applied to rows and to columns."""
    if matrix.shape[0] == matrix.shape[1]:  # at the same side it is the identity
        return images
    moved: Floats = np.matmul(np.matmul(matrix, images), matrix.T)
    return moved


def _sum(parts: Sequence[Floats]) -> Floats:
    total = parts[0].copy()
    for part in parts[1:]:
        total += part
    return total
