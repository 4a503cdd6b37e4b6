"""What the methods share that walk down the respaced times of the DiT repository: DIVER, MGD3, Minimax.

Respaced times are counted in levels: of `num_steps` levels 0 is the cleanest and num_steps - 1 the noisiest, and a
paper's "t = 25 of 50" is level 25. Where a walk is pulled to a target, the latent that an image starts with is that
target, and `ToTargets` makes the noisy beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from limbeck.arrays import Latents, Times
from limbeck.data.base import ImageSource
from limbeck.diffusion.base import Condition, Denoiser
from limbeck.diffusion.samplers import NoiseSource, Sampler
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.methods.shared.guided_walk import GuidedWalk
from limbeck.models import Models
from limbeck.randomness import generator


@dataclass(frozen=True, kw_only=True)
class RespacedWalk(GuidedWalk):
    """A method that walks latents down respaced times with the class as condition.

    Args:
        ipc, seed, guidance_scale, guided_channels: As `GuidedWalk`.
        num_steps: Levels of the whole walk.
    """

    def times(self, models: Models) -> Times:
        """The times of the walk, descending to clean, shape (steps + 1,)."""
        return models.schedule.timesteps(self.num_steps, spacing="respaced")

    def time_of(self, level: int, models: Models) -> int:
        """The time of a level, 0..num_steps - 1."""
        return int(models.schedule.timesteps(self.num_steps, spacing="respaced")[self.num_steps - 1 - level])

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse unknown classes, walks and guidance that cannot be."""
        models.conditioning.of_classes(source.class_names)
        super().check(source, models)

    def noise(self, class_name: str, index: int, shape: tuple[int, ...]) -> Latents:
        """The standard normal noise that an image begins with, the same in every method."""
        return generator(self.seed, class_name, index, "start").standard_normal(shape, np.float32)


@dataclass(frozen=True, kw_only=True)
class ToTargets:
    """A `Sampler` whose latents are the clean targets of its samples.

    Args:
        run: The sampler that is pulled to these targets, shape (batch, channels, height, width).
        noise: Standard normal, of that shape.
        level: The time that the targets are noised to, whichever time the walk starts at; None starts in noise alone.
    """

    run: Callable[[Latents], Sampler]
    noise: Latents
    level: int | None

    def __call__(
        self,
        denoise: Denoiser,
        latents: Latents,
        condition: Condition,
        *,
        schedule: NoiseSchedule,
        times: Times,
        noise: NoiseSource | None = None,
    ) -> Iterator[Latents]:
        """As `Sampler`."""
        begin = self.noise
        if self.level is not None:
            begin = schedule.add_noise(latents, self.noise, np.full(len(latents), self.level))
        return self.run(latents)(denoise, begin, condition, schedule=schedule, times=times, noise=noise)
