"""What the methods share that carry latents down a schedule under classifier-free guidance and decode them.

`GuidedWalk` does what is the same in all of them. A method says which times are walked, with what latent an image
starts and which sampler carries it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

from limbeck.arrays import Times
from limbeck.data.base import ImageSource
from limbeck.diffusion.base import Condition
from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.samplers import Sampler
from limbeck.errors import ConfigError
from limbeck.memory.work import Walk, Work
from limbeck.methods.base import NO_STATES, Event, Progress, State, Unit
from limbeck.methods.shared.by_class import one_unit_a_class
from limbeck.methods.shared.generation import Generation, Start
from limbeck.methods.shared.settings import refuse_below_one
from limbeck.models import GENERATING, Models, Part


@dataclass(frozen=True, kw_only=True)
class GuidedWalk(ABC):
    """A method that walks latents down under guidance.

    Args:
        ipc: Images per class.
        seed: With class name and index, fixes an image.
        num_steps: Steps of the full schedule.
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
    def times(self, models: Models) -> Times:
        """The times of the walk, descending, shape (steps + 1,); of one time, starts are decoded as they are."""

    @abstractmethod
    def starts(self, units: Sequence[Unit], source: ImageSource, models: Models) -> Iterator[Start | Progress]:
        """Every image to be made, those of a unit one after another."""

    @abstractmethod
    def sampler_of(self, batch: Sequence[Start], models: Models) -> Sampler:
        """What carries these starts, whose latents are as `starts` gave them."""

    def condition_of(self, batch: Sequence[Start], models: Models) -> Condition:
        """What the denoiser is told of these starts: their classes."""
        return models.conditioning.of_classes([start.class_name for start in batch])

    def led(self, models: Models) -> Models:
        """Models whose null condition is what guidance leads away from: the pack's own."""
        return models

    @property
    def noised(self) -> bool:
        """Whether starts are carried up to the first of `times` by noise; otherwise they are there already."""
        return False

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse walks and guidance that cannot be."""
        self.guided(models)
        self.times(models)
        channels = models.latent_shape[0]
        if self.guided_channels is not None and self.guided_channels > channels:
            raise ConfigError(f"guided_channels={self.guided_channels}, and latents have {channels}; None guides all")

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
        led = self.led(models)
        generation = Generation(
            seed=self.seed,
            ipc=images_per_class,
            sampler_of=lambda batch: self.sampler_of(batch, models),
            denoiser=self.guided(led),
            times=self.times(models),
            condition_of=lambda batch: self.condition_of(batch, models),
            noised=self.noised,
        )
        yield from generation.images(self.starts(units, source, models), led, total=len(units) * images_per_class)

    def guided(self, models: Models) -> Guided:
        """The denoiser with classifier-free guidance."""
        return Guided(
            models.denoiser,
            models.conditioning,
            scale=self.guidance_scale,
            channels=self.guided_channels,
            num_times=models.schedule.num_times,
        )
