"""How much signal is left at each time, and which times a walk visits.

    time       CLEAN = -1      0      1     ...    T-1
    alpha_bar  final         0.9999  ...           0.00004      (variance of the signal; the rest is noise)

A walk is an array of times that ends with `CLEAN`; a sampler makes one step between each two neighbors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from limbeck.arrays import Latents, Times
from limbeck.errors import ConfigError
from limbeck_kernels import denoise_step

CLEAN = -1
"""The time before the first noise."""

Spacing: TypeAlias = Literal["leading", "trailing", "linspace", "respaced"]
"""Where a walk's times lie: from 0 up in equal strides, from T-1 down in equal strides, or over all of 0..T-1.

The first three are the words of Lin et al. 2024 ("Common diffusion noise schedules and sample steps are flawed",
table 2) and of diffusers. "respaced" is the DiT repository's word for "linspace": index k of n is
round(k (T-1) / (n-1)).
"""

# A last time without signal cannot be walked with noise prediction. The level is what diffusers' DPM-Solver puts.
_LEAST_ALPHA_BAR = 2.0**-24
_LARGEST_COSINE_BETA = 0.999
_MOST_TIMES = 100_000
"""A hundred times what networks are trained on; a config with more would only fill the memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseSchedule:
    """The noise schedule that a network was trained with, and the spacing that it is walked with.

    Args:
        alpha_bars: Share of the variance that is signal at times 0..T-1, falling, inside (0, 1). Read-only.
        final_alpha_bar: The same at `CLEAN`: 1, or `alpha_bars[0]` for networks that were never asked for more.
        spacing: Of `timesteps`, unless the caller says otherwise.
        steps_offset: Added to the times of "leading" spacing.

    Raises:
        ConfigError: The levels do not fall, or leave (0, 1).
    """

    alpha_bars: NDArray[np.float64]
    final_alpha_bar: float = 1.0
    spacing: Spacing = "leading"
    steps_offset: int = 0

    def __post_init__(self) -> None:
        """Check the levels, and keep a copy that cannot be written."""
        levels = np.array(self.alpha_bars, np.float64)
        _check_levels(levels)
        levels.flags.writeable = False
        object.__setattr__(self, "alpha_bars", levels)

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> NoiseSchedule:
        """The schedule of a diffusers scheduler config: of DDIM, DDPM, PNDM or DPM-Solver++.

        Keys that only choose how a sampler steps (`variance_type`, `solver_order`, ...) are the sampler's business
        here and are ignored. With `rescale_betas_zero_snr` the last alpha_bar is at most 2**-24 instead of zero,
        because a noise prediction says nothing where there is no signal.

        Raises:
            ConfigError: A key that is unknown or has a value that would change the result, such as
                `prediction_type="v_prediction"`, `clip_sample=True` or `use_karras_sigmas=True`.
        """
        defaults = _CLASS_DEFAULTS.get(str(config.get("_class_name")), {})
        given = {key: value for key, value in config.items() if not key.startswith("_") and key not in _SAMPLER_KEYS}
        try:
            settings = _SchedulerConfig.model_validate({**defaults, **given})
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            raise ConfigError(
                f"the scheduler config has {key}={given[key]!r:.80}, which limbeck cannot follow: {first['msg']}\n"
                "it reads configs of diffusers' DDIM, DDPM, PNDM and DPM-Solver++ (multistep) for networks that "
                "predict the noise (epsilon), without clipping, thresholding or other sigmas"
            ) from error
        alpha_bars = _alpha_bars(settings)
        return cls(
            alpha_bars=alpha_bars,
            final_alpha_bar=1.0 if settings.set_alpha_to_one else float(alpha_bars[0]),
            spacing=settings.timestep_spacing,
            steps_offset=settings.steps_offset,
        )

    @property
    def num_times(self) -> int:
        """T, how many times the network was trained on."""
        return len(self.alpha_bars)

    def alpha_bar(self, times: Times) -> NDArray[np.float64]:
        """Share of the variance that is signal at `times`, of any shape; `final_alpha_bar` at `CLEAN`.

        Raises:
            ConfigError: A time outside CLEAN..T-1.
        """
        times = np.asarray(times)
        if ((times < CLEAN) | (times >= self.num_times)).any():
            raise ConfigError(
                f"times {times.min()}..{times.max()} leave the schedule, which has 0..{self.num_times - 1}, "
                f"and CLEAN = {CLEAN}"
            )
        return np.where(times == CLEAN, self.final_alpha_bar, self.alpha_bars[times])

    def timesteps(self, num_steps: int, *, spacing: Spacing | None = None, strength: float = 1.0) -> Times:
        """The times of a walk down to `CLEAN`, descending, shape (steps + 1,).

        Args:
            num_steps: Steps of the whole walk.
            spacing: Where its times lie; the schedule's own if None.
            strength: Which part of the walk to keep, as in diffusers' img2img: the last int(num_steps * strength)
                steps. 1 starts in noise, 0 leaves only `CLEAN`: no step.

        The times are those of diffusers' DDIM and PNDM. Its DPM-Solver has grids of its own for "leading" and
        "linspace" (of num_steps + 1 points, without the lowest). Here each step ends where the next one starts;
        diffusers' DDIM always ends a step T // num_steps lower, which is the same for "leading", for "trailing"
        when num_steps divides T, and off by a little otherwise.

        Raises:
            ConfigError: num_steps outside 1..T, strength outside 0..1, a spacing that does not exist, or an offset
                that leaves the schedule.
        """
        if not 1 <= num_steps <= self.num_times:
            raise ConfigError(f"num_steps={num_steps} does not fit the schedule; it must be 1..{self.num_times}")
        if not 0 <= strength <= 1:
            raise ConfigError(f"strength={strength} must lie in 0..1: the share of the {num_steps} steps to walk")
        grid = self._grid(num_steps, self.spacing if spacing is None else spacing)
        if grid[0] >= self.num_times:
            raise ConfigError(
                f"{num_steps} steps with an offset of {self.steps_offset} start at time {grid[0]}, past the last, "
                f"{self.num_times - 1}; lower num_steps, or use another spacing"
            )
        return np.append(grid[num_steps - int(num_steps * strength) :], CLEAN)

    def add_noise(self, latents: Latents, noise: Latents, times: Times) -> Latents:
        """Clean latents carried to `times`, shape (batch,), with this noise of the same shape; a new array."""
        return denoise_step.add_noise(latents, noise, self.alpha_bar(times))

    def _grid(self, num_steps: int, spacing: Spacing) -> Times:
        """Descending times of a whole walk, shape (num_steps,), without `CLEAN`."""
        if spacing == "leading":
            return np.arange(num_steps)[::-1] * (self.num_times // num_steps) + self.steps_offset
        if spacing == "trailing":
            # arange as in diffusers, whose rounding of halves this keeps; it may give one number too many
            places = np.arange(self.num_times, 0, -self.num_times / num_steps)[:num_steps]
            return np.round(places).astype(np.int64) - 1
        if spacing in ("linspace", "respaced"):
            return np.round(np.linspace(0, self.num_times - 1, num_steps)).astype(np.int64)[::-1]
        raise ConfigError(f"unknown spacing '{spacing}'; there are: {', '.join(get_args(Spacing))}")


class _SchedulerConfig(BaseModel):
    """The keys that decide the schedule, with DDIM's defaults, and those whose other values change the result."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    num_train_timesteps: int = Field(default=1000, ge=1, le=_MOST_TIMES)
    beta_start: float = Field(default=0.0001, ge=0, le=1)
    beta_end: float = Field(default=0.02, ge=0, le=1)
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    trained_betas: tuple[float, ...] | None = Field(default=None, max_length=_MOST_TIMES)
    rescale_betas_zero_snr: bool = False
    set_alpha_to_one: bool = True
    timestep_spacing: Literal["leading", "trailing", "linspace"] = "leading"
    steps_offset: int = Field(default=0, ge=0, le=_MOST_TIMES)

    prediction_type: Literal["epsilon"] = "epsilon"
    clip_sample: Literal[False] = False
    thresholding: Literal[False] = False
    final_sigmas_type: Literal["zero"] = "zero"
    use_karras_sigmas: Literal[False] | None = None
    use_exponential_sigmas: Literal[False] | None = None
    use_beta_sigmas: Literal[False] | None = None
    use_lu_lambdas: Literal[False] | None = None
    use_flow_sigmas: Literal[False] | None = None
    use_dynamic_shifting: Literal[False] | None = None


_CLASS_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "PNDMScheduler": {"set_alpha_to_one": False},
    "DPMSolverMultistepScheduler": {"timestep_spacing": "linspace"},
}
_SAMPLER_KEYS = frozenset(
    {
        "algorithm_type",
        "clip_sample_range",
        "dynamic_thresholding_ratio",
        "euler_at_final",
        "flow_shift",
        "lambda_min_clipped",
        "lower_order_final",
        "sample_max_value",
        "skip_prk_steps",
        "solver_order",
        "solver_type",
        "time_shift_type",
        "variance_type",
    }
)


def _alpha_bars(settings: _SchedulerConfig) -> NDArray[np.float64]:
    count, start, end = settings.num_train_timesteps, settings.beta_start, settings.beta_end
    betas: NDArray[np.float64]
    if settings.trained_betas is not None:
        betas = np.array(settings.trained_betas, np.float64)
    elif settings.beta_schedule == "linear":
        betas = np.linspace(start, end, count)
    elif settings.beta_schedule == "scaled_linear":
        betas = np.linspace(start**0.5, end**0.5, count) ** 2
    else:
        # Nichol & Dhariwal 2021, eq. 17, with their cap on the last betas.
        signal = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - signal[1:] / signal[:-1], _LARGEST_COSINE_BETA)
    alpha_bars = np.cumprod(1 - betas, dtype=np.float64)
    _check_levels(alpha_bars)
    return _without_last_signal(alpha_bars) if settings.rescale_betas_zero_snr else alpha_bars


def _check_levels(levels: NDArray[np.float64]) -> None:
    if not (levels.size and levels[0] < 1 and levels[-1] > 0 and (np.diff(levels) < 0).all()):
        raise ConfigError("a noise schedule needs alpha_bar that falls at every time and lies between 0 and 1")


def _without_last_signal(alpha_bars: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lin et al. 2024, algorithm 1: shift and scale sqrt(alpha_bar) to end at zero and to keep its start."""
    if alpha_bars.size < 2:
        raise ConfigError("rescale_betas_zero_snr needs a noise schedule of at least two times; this one has one")
    signal = np.sqrt(alpha_bars)
    rescaled: NDArray[np.float64] = ((signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])) ** 2
    # below the level before it, which for DiT's betas is itself below the constant
    rescaled[-1] = min(_LEAST_ALPHA_BAR, rescaled[-2] / 2)
    return rescaled
