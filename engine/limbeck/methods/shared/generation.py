"""Starting latents to images: noised, walked down the schedule and decoded, in batches filled across classes.

A method makes the starts, one after another, and this carries them to images: as many at a time as the plan's wave
has, a bucket in a call, whichever classes they are of. An image depends on its seed, class, index and the bucket, not
on what shared its batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Images, Latents, Times
from limbeck.diffusion.base import Condition, Denoiser
from limbeck.diffusion.samplers import Sampler
from limbeck.errors import EngineError
from limbeck.methods.base import DistilledImages, Event, Progress, Unit
from limbeck.models import Models
from limbeck.randomness import generator


@dataclass(frozen=True)
class Start:
    """One image to be made.

    Args:
        unit: The unit it belongs to, of one class.
        class_name: Its class.
        index: Which of its class.
        latent: Where its walk starts, before noise is added, shape (channels, height, width).
        prompt: What a text-conditioned denoiser is told instead of the class's name; None is the class.
        row: What the manifest says of it beside seed and index.
        arrays: What its unit has beside images; of a unit's starts the first one's count.
    """

    unit: Unit
    class_name: str
    index: int
    latent: Latents
    prompt: str | None = None
    row: Mapping[str, object] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


SamplerOf = Callable[[Sequence[Start]], Sampler]
"""The sampler for a batch, where a walk is steered by something of each sample's own."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How starts become images.

    Args:
        seed: With class and index, fixes the noise of an image.
        ipc: Images of each unit.
        sampler_of: The sampler for a batch of starts.
        denoiser: What the sampler asks, guided if guidance is wanted.
        times: The walk, shape (num_steps + 1,), descending; a walk of one time is no step, and starts are decoded.
        condition_of: The condition of a batch of starts.
        noised: Whether starts are carried up to the first of `times` by noise; otherwise they are there already.
    """

    seed: int
    ipc: int
    sampler_of: SamplerOf
    denoiser: Denoiser
    times: Times
    condition_of: Callable[[Sequence[Start]], Condition]
    noised: bool = True

    def images(self, starts: Iterable[Start | Progress], models: Models, *, total: int) -> Iterator[Event]:
        """Every unit whose starts come, in their order.

        Args:
            starts: All starts of a unit one after another; the progress of making them is passed on.
            models: The networks.
            total: How many starts there will be.
        """
        batches = _Count(0, math.ceil(total / models.bucket))
        waiting: list[Start] = []
        done: dict[int, list[tuple[Start, Images]]] = {}
        wave = models.wave or models.bucket
        seen = 0
        for start in starts:
            if isinstance(start, Progress):
                yield start
                continue
            waiting.append(start)
            seen += 1
            if len(waiting) < wave and seen < total:
                continue
            latents = yield from self._denoised(waiting, models, batches)
            for first in range(0, len(waiting), models.images_at_a_time):
                some = slice(first, first + models.images_at_a_time)
                yield Progress("decode", seen - len(waiting) + first, total)
                decoded = models.codec.decode(latents[some])
                yield Progress("decode", seen - len(waiting) + first + len(decoded), total)
                for made, image in zip(waiting[some], decoded, strict=True):
                    of_unit = done.setdefault(made.unit.index, [])
                    of_unit.append((made, image))
                    if len(of_unit) == self.ipc:
                        yield self._finished(done.pop(made.unit.index))
            waiting = []

    def _denoised(self, starts: Sequence[Start], models: Models, batches: _Count) -> Generator[Event, None, Latents]:
        """Carry the starts down, a bucket at a time; one event a step."""
        if len(self.times) > 1:
            models.prepare(self.times[:-1], self.condition_of(starts).join(models.conditioning.null(1)))
        made = []
        for first in range(0, len(starts), models.bucket):
            latents = yield from self._walked(starts[first : first + models.bucket], models, batches)
            batches.done += 1
            made.append(latents)
        return np.concatenate(made)

    def _walked(self, batch: Sequence[Start], models: Models, batches: _Count) -> Generator[Event, None, Latents]:
        columns = np.repeat(self.times[:, None], len(batch), axis=1)
        latents = np.stack([start.latent for start in batch])
        if self.noised:
            latents = models.schedule.add_noise(latents, self._noises(batch, "start"), columns[0])
        steps = self.sampler_of(batch)(
            self.denoiser,
            latents,
            self.condition_of(batch),
            schedule=models.schedule,
            times=columns,
            noise=lambda step: self._noises(batch, f"step {step}"),
        )
        num_steps = len(self.times) - 1
        for step, moved in enumerate(steps, start=1):
            latents = moved
            yield Progress("denoise", batches.done * num_steps + step, batches.total * num_steps)
        refuse_not_finite(latents)
        return latents

    def _noises(self, batch: Sequence[Start], use: str) -> Latents:
        return np.stack(
            [
                generator(self.seed, start.class_name, start.index, use).standard_normal(start.latent.shape, np.float32)
                for start in batch
            ]
        )

    def _finished(self, made: Sequence[tuple[Start, Images]]) -> DistilledImages:
        unit = made[0][0].unit
        rows = tuple({"seed": self.seed, "index": start.index, **start.row} for start, _ in made)
        images = np.stack([image for _, image in made])
        return DistilledImages(unit, images, unit.class_ids * self.ipc, rows, made[0][0].arrays)


def refuse_not_finite(latents: Latents) -> None:
    """Refuse latents that a broken network gave.

    Raises:
        EngineError: They are not finite.
    """
    if not np.isfinite(latents).all():
        raise EngineError(
            "the denoiser gave values that are not finite; check settings that scale guidance, and the pack with "
            "`limbeck doctor`"
        )


@dataclass
class _Count:
    """How many batches are done."""

    done: int
    total: int
