"""`UnetDenoiser`: a text-conditional UNet as a predictor of noise.

The text encoder and the conditioner run once per new prompt; while latents are denoised only the trunk runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Array, Latents, Maps, Times
from limbeck.diffusion.base import Condition
from limbeck.diffusion.batching import in_buckets
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.diffusion.text_condition import PromptTable, TextCondition
from limbeck.engine import Runnable
from limbeck.errors import ConfigError
from limbeck.pack import UnetInfo


class UnetDenoiser:
    """Predicts noise with a trunk, given what a prompt table has of each prompt.

    Args:
        info: What the network predicts, from the pack.
        prompts: Makes and remembers the trunk's condition.
        trunk: Engine from latents, timestep and condition to a prediction. Its timestep is one a sample, or a single
            one for the whole call, as other exporters write it; then samples of one time share a call.
        schedule: Gives the signal level at every time, to make noise of a velocity.
        bucket: Samples in one engine call; smaller batches are padded to it.
    """

    def __init__(
        self, info: UnetInfo, prompts: PromptTable, trunk: Runnable, *, schedule: NoiseSchedule, bucket: int
    ) -> None:
        """Keep the engine; it is closed by whoever compiled it."""
        self._velocity = info.prediction == "v_prediction"
        self._prompts = prompts
        self._trunk = trunk
        self._schedule = schedule
        self._bucket = bucket
        self._shares_time = any(tensor.name == "timestep" and not tensor.shape for tensor in trunk.spec.inputs)

    def prepare(self, times: Times, condition: Condition) -> None:
        """Remember what every prompt of `condition` needs, a bucket at a time; it is the same at all times."""
        prompts = sorted(set(_prompts(condition)))
        for start in range(0, len(prompts), self._bucket):
            self._prompts.rows(prompts[start : start + self._bucket])

    def __call__(self, latents: Latents, times: Times, condition: Condition) -> Latents:
        """The noise in `latents`, the same shape."""
        return self._noise(self._made(self._trunk, "prediction", latents, times, condition), latents, times)

    def features(self, engine: Runnable, latents: Latents, times: Times, condition: Condition) -> Maps:
        """What `engine`, a part of the trunk, makes of what the trunk is given: shape (batch, channels, h, w)."""
        return self._made(engine, "features", latents, times, condition)

    def _made(self, engine: Runnable, output: str, latents: Latents, times: Times, condition: Condition) -> Array:
        """An output of the trunk or of a part of it."""
        prompts = _prompts(condition)
        made = self._prompts.rows(prompts)
        run = partial(self._run, engine, [made[prompt] for prompt in prompts])
        groups = list(self._groups(times))
        parts = []
        for group in groups:
            feeds: dict[str, Array] = {"latents": latents[group], "timestep": times[group], "sample": group}
            parts.append(in_buckets(run, feeds, bucket=self._bucket)[output])
        joined: Array = np.concatenate(parts)[np.argsort(np.concatenate(groups))]
        return joined

    def _run(
        self, engine: Runnable, rows: Sequence[Mapping[str, Array]], feeds: Mapping[str, Array]
    ) -> dict[str, Array]:
        """One call; megabytes of keys and values are stacked here, for no more than a bucket."""
        chosen = [rows[sample] for sample in feeds["sample"]]
        timestep = np.asarray(feeds["timestep"][0]) if self._shares_time else feeds["timestep"]
        given: dict[str, Array] = {"latents": feeds["latents"], "timestep": timestep}
        given |= {name: np.stack([row[name] for row in chosen]) for name in chosen[0]}
        return engine.run({tensor.name: given[tensor.name] for tensor in engine.spec.inputs})

    def _groups(self, times: Times) -> Iterator[NDArray[np.intp]]:
        """Rows that may share a call."""
        if not self._shares_time:
            yield np.arange(len(times))
            return
        for time in np.unique(times):
            yield np.flatnonzero(times == time)

    def _noise(self, prediction: Latents, latents: Latents, times: Times) -> Latents:
        """Of a velocity v = sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) clean (Salimans & Ho 2022, section 4)."""
        if not self._velocity:
            return prediction
        level = self._schedule.alpha_bar(times)[:, None, None, None]
        noise: Latents = (np.sqrt(level) * prediction + np.sqrt(1 - level) * latents).astype(np.float32)
        return noise


def _prompts(condition: Condition) -> tuple[str, ...]:
    if not isinstance(condition, TextCondition):
        raise ConfigError(f"a text-conditional denoiser takes a TextCondition, got {type(condition).__name__}")
    return condition.prompts
