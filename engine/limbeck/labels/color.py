"""Changes of color, drawn for each image: brightness, contrast and saturation, and light along the principal axes."""

from __future__ import annotations

import numpy as np

from limbeck.arrays import Array, Images

GRAY = np.asarray((0.299, 0.587, 0.114), np.float32)
"""The luma weights of ITU-R BT.601."""

_VALUES = np.asarray((0.2175, 0.0188, 0.0045), np.float32)
_VECTORS = np.asarray(((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203)), np.float32)
"""Principal axes of ImageNet's colors in [0, 1] (Krizhevsky et al., NeurIPS 2012, section 4.1), a column an axis."""


def jitter(images: Images, rng: np.random.Generator, amount: float) -> Images:
    """Each image's brightness, contrast and saturation times a factor from 1 - amount to 1 + amount, within [0, 1].

    The order of the three is drawn once for the batch.
    """
    factors = rng.uniform(max(0.0, 1 - amount), 1 + amount, (3, len(images), 1, 1, 1)).astype(np.float32)
    for kind in rng.permutation(3):
        other = (_black, _mean_gray, _gray)[kind](images)
        images = (other + factors[kind] * (images - other)).clip(0, 1)
    return images


def lighting(images: Images, rng: np.random.Generator, std: float) -> Images:
    """Each image shifted along the principal axes of ImageNet's colors by normal draws of `std`; not clipped."""
    drawn: Array = rng.normal(0, std, (len(images), 3)).astype(np.float32)
    shift: Images = drawn * _VALUES @ _VECTORS.T
    return images + shift[:, :, None, None]


def _black(images: Images) -> Array:
    return np.zeros((1, 1, 1, 1), np.float32)


def _gray(images: Images) -> Array:
    gray: Array = np.einsum("ncij,c->nij", images, GRAY)[:, None]
    return gray


def _mean_gray(images: Images) -> Array:
    mean: Array = _gray(images).mean(axis=(2, 3), keepdims=True)
    return mean
