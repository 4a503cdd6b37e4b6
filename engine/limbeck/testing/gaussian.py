"""A diffusion model whose every answer is known in closed form.

If the data of a class are N(mean, std^2), then so is every noised version of them, with mean
sqrt(alpha_bar) mean and variance alpha_bar std^2 + 1 - alpha_bar. The best noise prediction is linear, and the
probability-flow ODE is solved exactly by keeping the z-score. Samplers and methods can be tested against that,
with no network.

    schedule = NoiseSchedule.from_config({})
    denoise = GaussianDenoiser.of(schedule, mean=[2.0, -1.0], std=[0.5, 0.2], latent_shape=(4, 8, 8))
    conditioning = denoise.conditioning            # classes "class 0", "class 1", and the null condition
    condition = conditioning.of_classes(["class 1", "class 0"])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Latents, Times
from limbeck.diffusion.base import Condition, Denoiser
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.errors import ConfigError


@dataclass(frozen=True)
class ClassIdCondition:
    """One class id a sample; the id after the last class is the null condition."""

    class_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.class_ids)

    def take(self, rows: Sequence[int]) -> Self:
        return type(self)(tuple(self.class_ids[row] for row in rows))

    def join(self, other: Self) -> Self:
        return type(self)(self.class_ids + other.class_ids)


@dataclass(frozen=True)
class ClassIdConditioning:
    """Classes by name; an unknown one is refused."""

    class_names: tuple[str, ...]

    def of_classes(self, names: Sequence[str]) -> ClassIdCondition:
        unknown = set(names) - set(self.class_names)
        if unknown:
            raise ConfigError(f"unknown classes {sorted(unknown)}; there are {list(self.class_names)}")
        return ClassIdCondition(tuple(self.class_names.index(name) for name in names))

    def null(self, batch: int) -> ClassIdCondition:
        return ClassIdCondition((len(self.class_names),) * batch)


@dataclass(frozen=True, eq=False)
class GaussianDenoiser:
    """The exact denoiser of classes that are Gaussian, element by element; with the exact learned variance.

    `mean` and `std` have shape (num_classes + 1, channels, height, width); the last row belongs to the null
    condition.
    """

    schedule: NoiseSchedule
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        schedule: NoiseSchedule,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        latent_shape: tuple[int, int, int],
        null: tuple[float, float] = (0.0, 1.0),
    ) -> Self:
        """Classes of one mean and one standard deviation each; `null` has those of the null condition."""
        ones = np.ones((1, *latent_shape))
        means, stds = np.array([*mean, null[0]]), np.array([*std, null[1]])
        return cls(schedule, means[:, None, None, None] * ones, stds[:, None, None, None] * ones)

    @classmethod
    def random(
        cls, schedule: NoiseSchedule, *, num_classes: int, latent_shape: tuple[int, int, int], seed: int = 0
    ) -> Self:
        """Every element of every class has its own mean in -1..1 and standard deviation in 0.3..1."""
        rng = np.random.default_rng(seed)
        shape = (num_classes + 1, *latent_shape)
        return cls(schedule, rng.uniform(-1, 1, shape), rng.uniform(0.3, 1, shape))

    @property
    def conditioning(self) -> ClassIdConditioning:
        return ClassIdConditioning(tuple(f"class {i}" for i in range(len(self.mean) - 1)))

    def data(self, condition: Condition, rng: np.random.Generator) -> Latents:
        """One clean latent of each row's class."""
        mean, std = self._moments(condition)
        return (mean + std * rng.standard_normal(mean.shape)).astype(np.float32)

    def noisy(self, condition: Condition, times: Times, rng: np.random.Generator) -> Latents:
        """One latent of each row's class, as it is distributed at `times`."""
        mean, std = self._moments_at(condition, times)
        return (mean + std * rng.standard_normal(mean.shape)).astype(np.float32)

    def __call__(self, latents: Latents, times: Times, condition: Condition) -> Latents:
        assert latents.shape == (len(times), *self.mean.shape[1:])
        assert len(condition) == len(times)
        assert (times >= 0).all(), "a network is never asked before the first noise"
        mean, std = self._moments_at(condition, times)
        noise_level = np.sqrt(1 - self.schedule.alpha_bar(times))[:, None, None, None]
        return (noise_level * (latents - mean) / std**2).astype(np.float32)

    def with_variance(self, latents: Latents, times: Times, condition: Condition) -> tuple[Latents, Latents]:
        """The interpolation is exact for a step of one time, from t to t - 1."""
        a_t = self.schedule.alpha_bar(times)[:, None, None, None]
        a_s = self.schedule.alpha_bar(times - 1)[:, None, None, None]
        upper = 1 - a_t / a_s
        # the step to the clean latent has a lower bound of zero and no noise: any interpolation will do
        lower = np.where(a_s < 1, upper * (1 - a_s) / (1 - a_t), upper / 2)
        _, std = self._moments(condition)
        variance_at_s, variance_at_t = a_s * std**2 + 1 - a_s, a_t * std**2 + 1 - a_t
        exact = variance_at_s - (a_t / a_s) * variance_at_s**2 / variance_at_t
        interpolation = 2 * np.log(exact / lower) / np.log(upper / lower) - 1
        return self(latents, times, condition), interpolation.astype(np.float32)

    def exact(self, latents: Latents, t: Times, s: Times, condition: Condition) -> Latents:
        """Where the exact ODE carries latents from times `t` to times `s`."""
        mean_t, std_t = self._moments_at(condition, t)
        mean_s, std_s = self._moments_at(condition, s)
        return (mean_s + std_s * (latents - mean_t) / std_t).astype(np.float32)

    def _moments(self, condition: Condition) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        assert isinstance(condition, ClassIdCondition)
        ids = list(condition.class_ids)
        return self.mean[ids], self.std[ids]

    def _moments_at(self, condition: Condition, times: Times) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean, std = self._moments(condition)
        level = self.schedule.alpha_bar(times)[:, None, None, None]
        return np.sqrt(level) * mean, np.sqrt(level * std**2 + 1 - level)


@dataclass(frozen=True)
class Recorded:
    """A denoiser that writes down what it is asked."""

    denoiser: Denoiser
    times: list[list[int]] = field(default_factory=list)
    """One entry a call, with the time of every row."""

    def __call__(self, latents: Latents, times: Times, condition: Condition) -> Latents:
        self.times.append(times.tolist())
        return self.denoiser(latents, times, condition)


def all_at(time: int, batch: int) -> Times:
    """The same time for every sample."""
    return np.full(batch, time, np.int64)
