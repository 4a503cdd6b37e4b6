"""What the methods share that walk down the respaced times of the DiT repository: DIVER, MGD3, Minimax.

Respaced times are counted in levels: of `num_steps` levels 0 is the cleanest and num_steps - 1 the noisiest, and a
paper's "t = 25 of 50" is level 25.

`RespacedWalk` does what is the same in all of them. A method says with what latent an image starts and which sampler
carries it. Where the walk is pulled to a target, that latent is the target, and `ToTargets` makes the noisy beginning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from limbeck.arrays import Latents, Times
from limbeck.data.base import ImageSource
from limbeck.diffusion.base import Condition, Denoiser
from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.samplers import NoiseSource, Sampler
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.memory.work import Walk, Work
from limbeck.methods.base import NO_STATES, Event, Progress, State, Unit
from limbeck.methods.shared.by_class import one_unit_a_class
from limbeck.methods.shared.generation import Generation, Start
from limbeck.methods.shared.settings import refuse_below_one
from limbeck.models import GENERATING, Models, Part
from limbeck.randomness import generator


@dataclass(frozen=True, kw_only=True)
class RespacedWalk(ABC):
    """A method that walks latents down with the class as condition.

    Args:
        ipc: Images per class.
        seed: With class name and index, fixes an image.
        num_steps: Levels of the whole walk.
        guidance_scale: Classifier-free guidance; 1 is none.
        guided_channels: Guide only the first channels, as the official DiT does with 3; None guides all.
    """

    name: ClassVar[str]
    needs: ClassVar[AbstractSet[Part]] = GENERATING
    ipc: int
    seed: int = 0
    num_steps: int = 50
    guidance_scale: float = 4.0
    guided_channels: int | None = None

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        refuse_below_one(self, "ipc", "num_steps")

    @abstractmethod
    def starts(self, units: Sequence[Unit], source: ImageSource, models: Models) -> Iterator[Start | Progress]:
        """Every image to be made, those of a unit one after another."""

    @abstractmethod
    def sampler(self, batch: Sequence[Start], models: Models) -> Sampler:
        """What carries these starts, whose latents are as `starts` gave them."""

    def times(self, models: Models) -> Times:
        """The times of the walk, descending to clean, shape (steps + 1,)."""
        return models.schedule.timesteps(self.num_steps, spacing="respaced")

    def time_of(self, level: int, models: Models) -> int:
        """The time of a level, 0..num_steps - 1."""
        return int(models.schedule.timesteps(self.num_steps, spacing="respaced")[self.num_steps - 1 - level])

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse unknown classes, walks and guidance that cannot be."""
        models.conditioning.of_classes(source.class_names)
        self.guided(models)
        self.times(models)

    def warm_up(self) -> None:  # noqa: B027 - those that use a library override it
        """Nothing: NumPy is all it uses."""

    def units(self, source: ImageSource) -> Sequence[Unit]:
        """One unit a class."""
        return one_unit_a_class(source)

    def walked(
        self, *, class_images: Sequence[int], images_per_class: int, scratch_nbytes: int, models: Models
    ) -> Work:
        """`Method.work`: walk every image down and decode it.

        Args:
            class_images: Real images to encode, by class.
            images_per_class: Images to walk down, by class.
            scratch_nbytes: As `Work`.
            models: Have the schedule.
        """
        rows = self.guided(models).step_rows(self.times(models)[:-1])
        return Work(
            class_images=tuple(class_images),
            images_per_class=images_per_class,
            walks=(Walk(samples=len(class_images) * images_per_class, step_rows=rows),) if rows else (),
            condition_times=len(rows),
            scratch_nbytes=scratch_nbytes,
        )

    def distill(
        self,
        units: Sequence[Unit],
        source: ImageSource,
        models: Models,
        *,
        resume: Mapping[int, State] = NO_STATES,
    ) -> Iterator[Event]:
        """Make `units` wave by wave; batches are filled across classes up to the bucket."""
        yield from self.made(units, source, models, images_per_class=self.ipc)

    def made(
        self, units: Sequence[Unit], source: ImageSource, models: Models, *, images_per_class: int
    ) -> Iterator[Event]:
        """The starts of `units`, carried down and decoded; so many of each class."""
        generation = Generation(
            seed=self.seed,
            ipc=images_per_class,
            sampler_of=lambda batch: self.sampler(batch, models),
            denoiser=self.guided(models),
            times=self.times(models),
            condition_of=lambda batch: models.conditioning.of_classes([start.class_name for start in batch]),
            noised=False,
        )
        yield from generation.images(self.starts(units, source, models), models, total=len(units) * images_per_class)

    def guided(self, models: Models) -> Guided:
        """The denoiser with classifier-free guidance."""
        return Guided(
            models.denoiser,
            models.conditioning,
            scale=self.guidance_scale,
            channels=self.guided_channels,
            num_times=models.schedule.num_times,
        )

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
