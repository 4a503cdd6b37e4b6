"""Classifier-free guidance: two predictions, with the condition and without, become one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Latents, Times
from limbeck.diffusion.base import Condition, Conditioning, Denoiser
from limbeck.errors import ConfigError
from limbeck_kernels.denoise_step import guide


@dataclass(frozen=True)
class Guided:
    """A denoiser that is guided away from no condition (Ho & Salimans 2022); it is used as any denoiser.

    The conditional rows and the null rows go to the inner denoiser as one batch. Where guidance does not act
    there are no null rows: a scale of 1 costs one pass.

    Args:
        denoiser: Predicts the noise.
        conditioning: Makes the null condition.
        scale: null + scale * (conditional - null); 1 is the condition alone, 0 none.
        interval: The fractions of all times between which guidance acts, both included; elsewhere a sample gets
            one conditional pass. Guidance at the noisiest times costs diversity and at the cleanest does nothing
            (Kynkäänniemi et al. 2024).
        channels: Guide only the first channels; the others stay conditional. 3 is the official DiT's own sampler,
            None guides all, as diffusers does.
        num_times: T, of which `interval` gives fractions.

    Raises:
        ConfigError: A negative or infinite scale, an interval outside 0..1 or reversed, or channels below 1.
    """

    denoiser: Denoiser
    conditioning: Conditioning
    _: KW_ONLY
    scale: float
    interval: tuple[float, float] = (0.0, 1.0)
    channels: int | None = None
    num_times: int = 1000

    def __post_init__(self) -> None:
        """Reject settings that would give images nobody asked for."""
        if not (self.scale >= 0 and math.isfinite(self.scale)):
            raise ConfigError(f"guidance scale must be a number of at least 0 (1 is no guidance), got {self.scale}")
        low, high = self.interval
        if not 0 <= low <= high <= 1:
            raise ConfigError(f"guidance interval must be two rising fractions in 0..1, got {self.interval}")
        if self.channels is not None and self.channels < 1:
            raise ConfigError(f"guided channels must be at least 1, or None for all, got {self.channels}")

    def begin(self, condition: Condition, walks: Times) -> Condition:
        """The condition of one walk, with its null condition beside it, as `samplers.WalkingDenoiser`.

        Both begin apart, so that a denoiser which keeps something from step to step keeps it for each of them.
        """
        both = condition, self.conditioning.null(len(condition))
        begin = getattr(self.denoiser, "begin", None)
        return _Both(*(begin(one, walks) for one in both)) if begin else _Both(*both)

    def __call__(self, latents: Latents, times: Times, condition: Condition) -> Latents:
        """The guided noise."""
        rows = self._guided_rows(times)
        return self._combined(self.denoiser(*self._joined(latents, times, condition, rows)), rows)

    def with_variance(self, latents: Latents, times: Times, condition: Condition) -> tuple[Latents, Latents]:
        """The guided noise, and the variance interpolation of the conditional prediction, as DiT's.

        Raises:
            ConfigError: The inner denoiser has no learned sigma.
        """
        if not hasattr(self.denoiser, "with_variance"):
            raise ConfigError(
                f"{type(self.denoiser).__name__} has no learned sigma; use variance='posterior' or 'upper'"
            )
        rows = self._guided_rows(times)
        noise, variance = self.denoiser.with_variance(*self._joined(latents, times, condition, rows))
        return self._combined(noise, rows), variance[: len(latents)]

    def rows_per_sample(self, time: int) -> int:
        """The rows that one sample at `time` gives the inner denoiser: 2 where guidance acts, else 1."""
        return 1 + len(self._guided_rows(np.array([time])))

    def step_rows(self, times: Times) -> tuple[int, ...]:
        """`rows_per_sample` of each step of a walk whose network calls are at `times`."""
        return tuple(self.rows_per_sample(int(time)) for time in times)

    def _guided_rows(self, times: Times) -> NDArray[np.intp]:
        if self.scale == 1:
            return np.arange(0)
        low, high = self.interval
        return np.flatnonzero((times >= low * self.num_times) & (times <= high * self.num_times))

    def _joined(
        self, latents: Latents, times: Times, condition: Condition, rows: NDArray[np.intp]
    ) -> tuple[Latents, Times, Condition]:
        """The batch, then `rows` of it once more without condition."""
        both = condition if isinstance(condition, _Both) else _Both(condition, self.conditioning.null(len(condition)))
        if not rows.size:
            return latents, times, both.conditional
        return (
            np.concatenate([latents, latents[rows]]),
            np.concatenate([times, times[rows]]),
            both.conditional.join(both.null.take(rows.tolist())),
        )

    def _combined(self, noise: Latents, rows: NDArray[np.intp]) -> Latents:
        batch = len(noise) - len(rows)
        guided = noise[:batch].copy()
        guided[rows, : self.channels] = guide(guided[rows, : self.channels], noise[batch:, : self.channels], self.scale)
        return guided


@dataclass(frozen=True)
class _Both:
    """A condition and the null condition of the same samples."""

    conditional: Condition
    null: Condition

    def __len__(self) -> int:
        return len(self.conditional)

    def take(self, rows: Sequence[int]) -> Self:
        return type(self)(self.conditional.take(rows), self.null.take(rows))

    def join(self, other: Self) -> Self:
        return type(self)(self.conditional.join(other.conditional), self.null.join(other.null))
