"""From free numbers to colors in [0, 1]: channels that natural images move together, then a sigmoid; and backwards.

Olah, Mordvintsev & Schubert, "Feature Visualization", Distill 2017, whose matrix of color correlations LGM uses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SPREADS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""Square root of the covariance of ImageNet's colors: a row a color, a column a direction."""

CORRELATED: Floats = (_SPREADS / np.linalg.norm(_SPREADS, axis=0).max()).astype(np.float32)
"""Takes three independent numbers to a color; the longest column has length 1."""

_SLOPE = np.float32(2)


def to_color(free: Floats, *, correlate: bool = True) -> Floats:
    """`sigmoid(2 C x)` of each pixel x, shape (images, 3, height, width); C is `CORRELATED`, or nothing."""
    mixed = _mixed(CORRELATED, free) if correlate else free
    # tanh does not overflow where exp would
    colors: Floats = (np.tanh(_SLOPE / 2 * mixed) + 1) / np.float32(2)
    return colors


def to_color_adjoint(gradient: Floats, colors: Floats, *, correlate: bool = True) -> Floats:
    """The gradient of the free numbers, from that of the colors they became."""
    mixed = gradient * (_SLOPE * colors * (1 - colors))
    return _mixed(CORRELATED.T, mixed) if correlate else mixed


def _mixed(matrix: Floats, images: Floats) -> Floats:
    flat: Floats = np.matmul(matrix, images.reshape(len(images), 3, -1))
    return flat.reshape(images.shape)
