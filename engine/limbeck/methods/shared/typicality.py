"""Typicality: where in an image a label helps a diffusion model to predict the noise.

Siglidis et al., "Diffusion Models as Data Mining Tools", ECCV 2024.
"""

from __future__ import annotations

import numpy as np

from limbeck.arrays import Array, Latents, Times
from limbeck.diffusion.base import Condition, Denoiser


def loss_differences(
    denoiser: Denoiser, noised: Latents, times: Times, noise: Latents, condition: Condition, other: Condition
) -> Array:
    """How much better the noise is predicted with `condition` than with `other`, at each place.

    Siglidis et al. 2024, equation 3: the squared errors of both, averaged over channels, subtracted. Both predictions
    are of the same noised latents, because the differences are small beside the spread over noises.

    Returns:
        Shape (batch, height, width).
    """
    predicted = denoiser(np.concatenate([noised, noised]), np.concatenate([times, times]), condition.join(other))
    errors = np.square(predicted - np.concatenate([noise, noise])).mean(axis=1)
    difference: Array = errors[len(noised) :] - errors[: len(noised)]
    return difference
