"""D4M: prototypes of each class in latent space, noised a little and denoised with the class.

Su et al., "D4M: Dataset Distillation via Disentangled Diffusion Model", CVPR 2024. For every class:

1. encode    - carry its images to latents;
2. cluster   - k-means with `ipc` centers: the class's prototypes, blurry averages of many images;
3. noise     - carry each prototype up to `strength` of the schedule;
4. sample    - denoise it with the class as condition, which gives the detail back, and decode it.

`D4M.faithful` has the settings of the official release. Its quirks that shape the result are settings here
(mini-batch k-means whose first batch is `ipc` images, a sampled posterior, distorted aspect, the PNDM sampler); its
bugs are not reproduced: latents left over from the last mini-batch of a class are clustered too, every image's seed is
recorded, and no safety checker turns images black.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np

from limbeck.arrays import Images, Latents, Times
from limbeck.data.base import Fit, ImageSource
from limbeck.diffusion.base import Condition
from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.models import Models
from limbeck.diffusion.samplers import SamplerName, sampler
from limbeck.errors import ConfigError, DataError, EngineError
from limbeck.memory.work import Walk, Work
from limbeck.methods.base import DistilledImages, Event, Progress, Unit
from limbeck.methods.clustering import Clustering, Clusters, FullKMeans, StreamedKMeans, warm_up
from limbeck.randomness import generator, small_seed


@dataclass(frozen=True, kw_only=True)
class D4M:
    """Latent prototypes, denoised.

    Args:
        ipc: Images per class.
        seed: With class name and index, fixes an image.
        num_steps: Steps of the full schedule; about `strength` of them are made.
        strength: How far a prototype is noised, 0..1. 0 decodes the prototype itself.
        guidance_scale: Classifier-free guidance; 1 is none.
        guidance_interval: Fractions of the schedule between which guidance acts.
        guided_channels: Guide only the first channels, as the official DiT does with 3; None guides all.
        sampler: How the noised prototype is carried back.
        condition: "class" gives the denoiser the class; "none" the null condition, for classes it does not know.
        clustering: "full" holds all latents of a class; "minibatch" streams them.
        batch_factor: Mini-batch k-means is fed `batch_factor * ipc` latents at a time.
        sample_posterior: Draw the latent of a real image from the codec's posterior instead of taking its mean.
        fit: How real images become square.
        scratch_bytes: The most latents of a class that "full" takes, in bytes; clustering needs about twice that.
    """

    name: ClassVar[str] = "d4m"
    ipc: int
    seed: int = 0
    num_steps: int = 20
    strength: float = 0.7
    guidance_scale: float = 4.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guided_channels: int | None = None
    sampler: SamplerName = "dpm++2m"
    condition: Literal["class", "none"] = "class"
    clustering: Clustering = "full"
    batch_factor: int = 10
    sample_posterior: bool = False
    fit: Fit = "crop"
    scratch_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        for field in ("ipc", "num_steps", "batch_factor"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be at least 1, got {getattr(self, field)}")
        if not 0 <= self.strength <= 1:
            raise ConfigError(f"strength must lie in 0..1, got {self.strength}")

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The settings of the official release (its README's script for ImageNet)."""
        return cls(
            ipc=ipc,
            seed=seed,
            num_steps=50,
            strength=0.7,
            guidance_scale=8.0,
            sampler="pndm-img2img",
            clustering="minibatch",
            batch_factor=1,
            sample_posterior=True,
            fit="squash",
        )

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse small or unknown classes, walks and guidance that cannot be, and latents beyond `scratch_bytes`."""
        largest = 0
        for class_id, name in enumerate(source.class_names):
            count = len(source.names(class_id))
            largest = max(largest, count)
            if count < self.ipc:
                raise DataError(
                    f"class '{name}' has {count} images, fewer than ipc={self.ipc}; "
                    "lower ipc or leave the class out of the source"
                )
        if self.condition == "class":
            models.conditioning.of_classes(source.class_names)
        self._guided(models)
        if len(self._times(models)) == 1 and self.strength > 0:
            raise ConfigError(
                f"strength={self.strength} of num_steps={self.num_steps} is no step at all; raise one of them, "
                "or set strength=0 to decode the prototypes themselves"
            )
        needed = largest * 4 * int(np.prod(models.latent_shape))
        if self.clustering == "full" and needed > self.scratch_bytes:
            raise ConfigError(
                f"the largest class has {largest} images, whose latents take {needed:,} bytes; scratch_bytes allows "
                f"{self.scratch_bytes:,}\nset clustering=minibatch, which streams them, or raise scratch_bytes"
            )

    def warm_up(self) -> None:
        """scikit-learn, with SciPy and the buffers of its OpenBLAS."""
        warm_up()

    def units(self, source: ImageSource) -> Sequence[Unit]:
        """One unit a class."""
        return tuple(Unit(class_id, (class_id,)) for class_id in range(len(source.class_names)))

    def work(self, source: ImageSource, models: Models) -> Work:
        """Encode every image once, walk each prototype down, decode it."""
        counts = tuple(len(source.names(class_id)) for class_id in range(len(source.class_names)))
        times = self._times(models)
        rows = tuple(self._guided(models).rows_per_sample(int(time)) for time in times[:-1])
        held = max(counts) if self.clustering == "full" else min(max(counts), 2 * self.batch_factor * self.ipc)
        return Work(
            class_images=counts,
            images_per_class=self.ipc,
            walks=(Walk(samples=len(counts) * self.ipc, step_rows=rows),),
            condition_times=len(rows),
            # the latents, joined, centered by k-means, and its distances
            scratch_nbytes=4 * held * 4 * math.prod(models.latent_shape),
        )

    def distill(self, units: Sequence[Unit], source: ImageSource, models: Models) -> Iterator[Event]:
        """Make `units` wave by wave; batches are filled across classes up to the bucket."""
        num_images = sum(len(source.names(class_id)) for unit in units for class_id in unit.class_ids)
        encoded = 0
        batches = _Count(0, math.ceil(len(units) * self.ipc / models.bucket))
        waiting: list[_Sample] = []
        images: dict[int, list[Images]] = {}
        wave = models.wave or models.bucket
        for unit in units:
            (class_id,) = unit.class_ids
            name = source.class_names[class_id]
            clusters = self._clusters(name)
            for latents in self._latents(class_id, source, models):
                clusters.add(latents)
                encoded += len(latents)
                yield Progress("encode", encoded, num_images)
            prototypes = clusters.centers().reshape(self.ipc, *models.latent_shape)
            waiting += [_Sample(unit, name, index, prototypes[index]) for index in range(self.ipc)]
            while len(waiting) >= wave or (unit is units[-1] and waiting):
                now, waiting = waiting[:wave], waiting[wave:]
                denoised = yield from self._denoised(now, models, batches)
                for sample, image in zip(now, _decoded(denoised, models), strict=True):
                    done = images.setdefault(sample.unit.index, [])
                    done.append(image)
                    if len(done) == self.ipc:
                        yield self._finished(sample.unit, np.stack(images.pop(sample.unit.index)))

    def _clusters(self, class_name: str) -> Clusters:
        seed = small_seed(self.seed, class_name, "k-means")
        if self.clustering == "full":
            return FullKMeans(self.ipc, seed=seed)
        return StreamedKMeans(self.ipc, chunk=self.batch_factor * self.ipc, seed=seed)

    def _latents(self, class_id: int, source: ImageSource, models: Models) -> Iterator[Latents]:
        name = source.class_names[class_id]
        index = 0
        for images in source.images(class_id, size=models.image_size, fit=self.fit, batch=models.images_at_a_time):
            if self.sample_posterior:
                mean, std = models.codec.posterior(images)
                drawn = range(index, index + len(images))
                noise = np.stack([self._noise(name, i, "posterior", mean.shape[1:]) for i in drawn])
                yield mean + std * noise
            else:
                yield models.codec.encode(images)
            index += len(images)

    def _denoised(
        self, samples: Sequence[_Sample], models: Models, batches: _Count
    ) -> Generator[Event, None, list[Latents]]:
        """Noise the prototypes and carry them back, a bucket at a time; one event a step."""
        if self.strength > 0:
            models.prepare(self._times(models)[:-1], self._condition(samples, models).join(models.conditioning.null(1)))
        made = []
        for start in range(0, len(samples), models.bucket):
            latents = yield from self._generate(samples[start : start + models.bucket], models, batches)
            batches.done += 1
            made.append(latents)
        return made

    def _generate(self, batch: Sequence[_Sample], models: Models, batches: _Count) -> Generator[Event, None, Latents]:
        times = self._times(models)
        columns = np.repeat(times[:, None], len(batch), axis=1)
        latents = np.stack([sample.prototype for sample in batch])
        latents = models.schedule.add_noise(latents, self._noises(batch, "start"), columns[0])
        steps = sampler(self.sampler)(
            self._guided(models),
            latents,
            self._condition(batch, models),
            schedule=models.schedule,
            times=columns,
            noise=lambda step: self._noises(batch, f"step {step}"),
        )
        for step, moved in enumerate(steps, start=1):
            latents = moved
            num_steps = len(times) - 1
            yield Progress("denoise", batches.done * num_steps + step, batches.total * num_steps)
        if not np.isfinite(latents).all():
            raise EngineError("the denoiser gave values that are not finite; check the pack with `limbeck doctor`")
        return latents

    def _times(self, models: Models) -> Times:
        return sampler(self.sampler).times(models.schedule, self.num_steps, strength=self.strength)

    def _guided(self, models: Models) -> Guided:
        return Guided(
            models.denoiser,
            models.conditioning,
            scale=self.guidance_scale,
            interval=self.guidance_interval,
            channels=self.guided_channels,
            num_times=models.schedule.num_times,
        )

    def _condition(self, batch: Sequence[_Sample], models: Models) -> Condition:
        if self.condition == "none":
            return models.conditioning.null(len(batch))
        return models.conditioning.of_classes([sample.class_name for sample in batch])

    def _noises(self, batch: Sequence[_Sample], use: str) -> Latents:
        return np.stack([self._noise(s.class_name, s.index, use, s.prototype.shape) for s in batch])

    def _noise(self, class_name: str, index: int, use: str, shape: tuple[int, ...]) -> Latents:
        return generator(self.seed, class_name, index, use).standard_normal(shape, dtype=np.float32)

    def _finished(self, unit: Unit, images: Images) -> DistilledImages:
        rows = tuple({"seed": self.seed, "index": index} for index in range(self.ipc))
        return DistilledImages(unit, images, unit.class_ids * self.ipc, rows)


@dataclass(frozen=True)
class _Sample:
    """One image to be made: the `index`-th of its class, from `prototype`."""

    unit: Unit
    class_name: str
    index: int
    prototype: Latents


@dataclass
class _Count:
    """How many batches are done."""

    done: int
    total: int


def _decoded(batches: Sequence[Latents], models: Models) -> Iterator[Images]:
    """The images of latents, decoded a few at a time, so that no more than these are held."""
    latents = np.concatenate(batches)
    for start in range(0, len(latents), models.images_at_a_time):
        yield from models.codec.decode(latents[start : start + models.images_at_a_time])
