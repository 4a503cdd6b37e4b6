"""Real numbers as small integers and back: value = scale * integer, zero is zero.

Symmetric, so that no zero point is left in the arithmetic: a weight w becomes round(w / scale) in -limit..limit, where
scale = max|w| / limit over the values that share it. The error is at most half a scale, and values that are
multiples of the scale come back exactly.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Real: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.int8]


def symmetric_scales(values: Real, axis: int | tuple[int, ...], bits: int) -> Real:
    """The smallest scales that hold `values` in `bits` bits, shared along `axis`, which is kept with size 1.

    All zeros get the scale 1, so that dividing by a scale is always allowed.
    """
    peaks = np.maximum(values.max(axis=axis, keepdims=True), -values.min(axis=axis, keepdims=True))
    scales: Real = (peaks / largest(bits)).astype(np.float32)
    return np.where(scales > 0, scales, np.float32(1))


def to_integers(values: Real, scales: Real, bits: int) -> Integers:
    """`values / scales` to the nearest integer (even at a tie), within -limit..limit; `scales` broadcasts."""
    limit = largest(bits)
    steps = values / scales
    np.rint(steps, out=steps)
    np.clip(steps, -limit, limit, out=steps)
    return steps.astype(np.int8)


def from_integers(integers: Integers, scales: Real) -> Real:
    """The real numbers that the integers stand for."""
    return integers * scales


def largest(bits: int) -> int:
    """The largest magnitude of a symmetric integer: 127 for 8 bits, 7 for 4; -128 and -8 are not used."""
    return int(2 ** (bits - 1) - 1)


def pack_pairs(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Numbers below 16 two to a byte along the last axis, whose size is even; the first in the low half."""
    low, high = values[..., 0::2], values[..., 1::2]
    return np.bitwise_or(low, np.left_shift(high, np.uint8(4)), dtype=np.uint8)
