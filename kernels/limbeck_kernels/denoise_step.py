"""The arithmetic of one denoising step, without a network or a schedule.

Everywhere z_t = sqrt(alpha_bar) z_0 + sqrt(1 - alpha_bar) noise. Latents and predictions are float32 of one shape
(batch, ...); `alpha_bar` and its kin are float64 of shape (batch,), one a sample, so that samples at different
times share a batch. `alpha_bar_from` belongs to the latents that are given, `alpha_bar_to` to those that are
returned. The arithmetic is float64 and a result is rounded to float32 once; nothing is changed in place.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Latents: TypeAlias = NDArray[np.float32]
PerSample: TypeAlias = NDArray[np.float64]

# Row k: the weights of the newest prediction and the three before it, when k earlier ones are known.
_ADAMS_BASHFORTH = np.array(
    [[1, 0, 0, 0], [3 / 2, -1 / 2, 0, 0], [23 / 12, -16 / 12, 5 / 12, 0], [55 / 24, -59 / 24, 37 / 24, -9 / 24]]
)
# The posterior of the step to the clean latent is a point; its logarithm needs a floor. The value is diffusers'.
_LEAST_VARIANCE = 1e-20


def add_noise(latents: Latents, noise: Latents, alpha_bar: PerSample) -> Latents:
    """Clean latents carried to the level `alpha_bar` with this noise (Ho et al. 2020, eq. 4)."""
    level = _column(alpha_bar, latents)
    return (np.sqrt(level) * latents + np.sqrt(1 - level) * noise).astype(np.float32)


def predict_clean(latents: Latents, noise: Latents, alpha_bar: PerSample) -> Latents:
    """The clean latents that a noise prediction implies; the inverse of `add_noise`. Needs alpha_bar > 0."""
    level = _column(alpha_bar, latents)
    return ((latents - np.sqrt(1 - level) * noise) / np.sqrt(level)).astype(np.float32)


def guide(conditional: Latents, null: Latents, scale: float) -> Latents:
    """Classifier-free guidance, `null + scale * (conditional - null)`: scale 1 is the conditional prediction.

    Ho & Salimans 2022, eq. 6, with scale = 1 + w.
    """
    return (null + scale * (conditional - null)).astype(np.float32)


def ddim_step(latents: Latents, noise: Latents, alpha_bar_from: PerSample, alpha_bar_to: PerSample) -> Latents:
    """Song et al. 2021 (DDIM), eq. 12 with eta = 0, for a step in either direction.

    It is the exact solution of the probability-flow ODE for a noise that stays constant over the step.
    """
    a_t, a_s = _column(alpha_bar_from, latents), _column(alpha_bar_to, latents)
    clean = (latents - np.sqrt(1 - a_t) * noise) / np.sqrt(a_t)
    return (np.sqrt(a_s) * clean + np.sqrt(1 - a_s) * noise).astype(np.float32)


def dpm_step(latents: Latents, clean: Latents, alpha_bar_from: PerSample, alpha_bar_to: PerSample) -> Latents:
    """Lu et al. 2022 (DPM-Solver++), proposition 4.1 to first order. Needs alpha_bar_from < 1.

    It is the exact solution of the ODE for a clean latent that stays constant over the step. The paper's
    exp(-h) is written as the ratio of noise to signal that it is, which stays finite at alpha_bar_to = 1.
    """
    a_t, a_s = _column(alpha_bar_from, latents), _column(alpha_bar_to, latents)
    kept: PerSample = np.sqrt((1 - a_s) / (1 - a_t))
    return (kept * latents + (np.sqrt(a_s) - kept * np.sqrt(a_t)) * clean).astype(np.float32)


def dpm_extrapolate(
    clean: Latents,
    earlier_clean: Latents,
    alpha_bar_earlier: PerSample,
    alpha_bar_from: PerSample,
    alpha_bar_to: PerSample,
) -> Latents:
    """The clean latents at the middle of a step, from those predicted at its start and at the last step's start.

    Lu et al. 2022 (DPM-Solver++), algorithm 2, its `D_i`. Needs three different levels, all below 1.
    """
    earlier, start, end = (_half_log_snr(level) for level in (alpha_bar_earlier, alpha_bar_from, alpha_bar_to))
    ratio = _column((end - start) / (start - earlier), clean)
    return (clean + ratio / 2 * (clean - earlier_clean)).astype(np.float32)


def adams_bashforth(newest: Latents, earlier: Latents, num_earlier: NDArray[np.int64]) -> Latents:
    """The noise to use over a step, from the predictions made so far.

    Args:
        newest: The prediction at the start of the step, shape (batch, ...).
        earlier: Those of the three steps before, newest first, shape (3, batch, ...).
        num_earlier: How many of them each sample has, 0..3, shape (batch,). The rest has weight zero.

    Liu et al. 2022 (PNDM), eq. 12 and the lower orders of the same family; equal steps are assumed.
    """
    weights = _ADAMS_BASHFORTH[num_earlier]
    total = _column(weights[:, 0], newest) * newest
    for age in range(3):
        total = total + _column(weights[:, age + 1], newest) * earlier[age]
    return total.astype(np.float32)


def ddpm_step(
    latents: Latents,
    clean: Latents,
    noise: Latents,
    variance: NDArray[np.float64],
    alpha_bar_from: PerSample,
    alpha_bar_to: PerSample,
) -> Latents:
    """A draw of the latents one step earlier, given these and the clean ones (Ho et al. 2020, eq. 7).

    Args:
        latents, clean, noise: Shape (batch, ...); `noise` is standard normal.
        variance: Of the draw, one a sample or one an element.
        alpha_bar_from, alpha_bar_to: The step may skip times; its beta is that of the whole stride.
    """
    a_t, a_s = _column(alpha_bar_from, latents), _column(alpha_bar_to, latents)
    beta = 1 - a_t / a_s
    mean = (np.sqrt(a_s) * beta * clean + np.sqrt(a_t / a_s) * (1 - a_s) * latents) / (1 - a_t)
    return (mean + _spread(variance, latents) * noise).astype(np.float32)


def posterior_variance(alpha_bar_from: PerSample, alpha_bar_to: PerSample) -> PerSample:
    """The variance of the reverse step if the data were one point, shape (batch,); the smallest that is right.

    Ho et al. 2020, eq. 7; "fixed_small" in diffusers.
    """
    return (1 - alpha_bar_to) / (1 - alpha_bar_from) * upper_variance(alpha_bar_from, alpha_bar_to)


def upper_variance(alpha_bar_from: PerSample, alpha_bar_to: PerSample) -> PerSample:
    """The variance of the reverse step if the data were standard normal, shape (batch,): the step's own beta.

    Ho et al. 2020, section 3.2; "fixed_large" in diffusers.
    """
    return 1 - alpha_bar_from / alpha_bar_to


def learned_variance(interpolation: Latents, alpha_bar_from: PerSample, alpha_bar_to: PerSample) -> NDArray[np.float64]:
    """The variance between those two that a network chose, element by element.

    `interpolation` in about [-1, 1] runs from `posterior_variance` to `upper_variance` in their logarithms
    (Nichol & Dhariwal 2021, eq. 15).
    """
    lower = np.log(np.maximum(posterior_variance(alpha_bar_from, alpha_bar_to), _LEAST_VARIANCE))
    upper = np.log(np.maximum(upper_variance(alpha_bar_from, alpha_bar_to), _LEAST_VARIANCE))
    share = (interpolation.astype(np.float64) + 1) / 2
    return np.exp(_column(lower, share) + share * _column(upper - lower, share))


def pull(latents: Latents, target: Latents, reference: Latents, variance: NDArray[np.float64], scale: float) -> Latents:
    """`latents` moved by scale * sqrt(variance) * (target - reference).

    Chan-Santiago et al. 2025 (MGD3), mode guidance, where `reference` is the predicted clean latent; DIVER's semantic
    guidance is the same with another target.

    Args:
        latents, target, reference: Shape (batch, ...).
        variance: One a sample or one an element.
        scale: 0 gives `latents` back.
    """
    return (latents + scale * _spread(variance, latents) * (target - reference)).astype(np.float32)


def pull_noise(noise: Latents, target: Latents, clean: Latents, alpha_bar: PerSample, scale: float) -> Latents:
    """The noise prediction of latents that are to be drawn to `target` instead of to `clean`.

    noise - scale * sqrt(1 - alpha_bar) * (target - clean): MGD3's form for DDIM.
    """
    return (noise - scale * np.sqrt(1 - _column(alpha_bar, noise)) * (target - clean)).astype(np.float32)


def _half_log_snr(alpha_bar: PerSample) -> PerSample:
    return np.log(alpha_bar / (1 - alpha_bar)) / 2


def _spread(variance: NDArray[np.float64], like: NDArray[np.floating]) -> NDArray[np.float64]:
    spread: NDArray[np.float64] = np.sqrt(_column(variance, like) if variance.ndim == 1 else variance)
    return spread


def _column(values: PerSample, like: NDArray[np.floating]) -> NDArray[np.float64]:
    return values.reshape(-1, *(1,) * (like.ndim - 1))
