"""Steering: a hook that changes where a step of a walk ends, towards something that each sample has of its own.

    sampler: latents ──predict──► noise ──step──► moved ──steer──► the next latents

A sampler that can be steered tells the hook all it knows of the step, of the samples that move only, and goes on from
what the hook gives back. Two hooks are here, both pulls towards a target latent: `Pull` shifts the end of the step
(DIVER's semantic guidance, MGD3's mode guidance), `PullNoise` the noise prediction (MGD3's form for DDIM).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Latents, Times
from limbeck_kernels.denoise_step import ddim_step, predict_clean, pull, pull_noise

Variance = Literal["posterior", "upper", "learned"]
"""Of a reverse step: right for data that are one point, right for standard normal data, or chosen by the network."""


@dataclass(frozen=True)
class Step:
    """One step of a walk, of the samples that move; `n` of them.

    Args:
        rows: Which samples of the walk's batch these are, shape (n,).
        times: The times that they leave, shape (n,).
        alpha_bar_from: The signal's share of the variance at these times, shape (n,).
        alpha_bar_to: The same at the times that the step goes to.
        latents: At the start of the step, shape (n, channels, height, width).
        noise: The prediction there, guided if guidance is wanted.
        variance: Of the reverse step, one a sample or one an element.
        moved: Where the step ends if it is not steered.
    """

    rows: NDArray[np.int64]
    times: Times
    alpha_bar_from: NDArray[np.float64]
    alpha_bar_to: NDArray[np.float64]
    latents: Latents
    noise: Latents
    variance: NDArray[np.float64]
    moved: Latents

    @property
    def clean(self) -> Latents:
        """The clean latents that the prediction implies."""
        return predict_clean(self.latents, self.noise, self.alpha_bar_from)


Steer: TypeAlias = Callable[[Step], Latents]
"""Where the step ends, shape of `Step.moved`. What it is given is not changed."""


@dataclass(frozen=True, kw_only=True)
class Pull:
    """moved + scale * spread * (target - reference), while a sample's time lies in the window.

    Args:
        targets: One a sample of the walk's batch, shape (batch, channels, height, width).
        scale: 0 pulls nothing.
        window: The lowest and the highest time at which it pulls, both included.
        reference: What is held against the target: the predicted "clean" latents, or the "noisy" ones of the step's
            start. The noisy reference shrinks the noise that is in the latents too, and so takes them off the
            variance that the network expects; the clean one does not.
    """

    targets: Latents
    scale: float
    window: tuple[int, int]
    reference: Literal["clean", "noisy"]

    def __call__(self, step: Step) -> Latents:
        """The pulled end of the step."""
        reference = step.clean if self.reference == "clean" else step.latents
        pulled = pull(step.moved, self.targets[step.rows], reference, step.variance, self.scale)
        return _inside(self.window, step, pulled)


@dataclass(frozen=True, kw_only=True)
class PullNoise:
    """A DDIM step with the prediction noise - scale * sqrt(1 - alpha_bar) * (target - clean), inside the window.

    It is classifier guidance (Dhariwal & Nichol 2021, algorithm 2) with the pull as the classifier's gradient.

    Args:
        targets, scale, window: As `Pull`.
    """

    targets: Latents
    scale: float
    window: tuple[int, int]

    def __call__(self, step: Step) -> Latents:
        """The end of the step that is made with the pulled prediction."""
        noise = pull_noise(step.noise, self.targets[step.rows], step.clean, step.alpha_bar_from, self.scale)
        pulled = ddim_step(step.latents, noise, step.alpha_bar_from, step.alpha_bar_to)
        return _inside(self.window, step, pulled)


def _inside(window: tuple[int, int], step: Step, pulled: Latents) -> Latents:
    low, high = window
    inside = (step.times >= low) & (step.times <= high)
    return np.where(inside[:, None, None, None], pulled, step.moved)
