"""MGD3: samples drawn from noise, each pulled to another mode of its class until the walk is half done.

Chan-Santiago et al., "MGD3: Mode-Guided Dataset Distillation using Diffusion Models", ICML 2025. For every class:

1. discover - encode its images; k-means with `ipc` clusters gives the modes;
2. guide    - carry pure noise down with the class as condition; at every step above `stop` the sample is moved by
              mode_scale * spread * (mode - predicted clean latent), one mode an image;
3. stop     - below, the walk goes on without, and its end is decoded.

`MGD3.faithful` has the paper's settings, with the guidance of the official DiT on the first three latent channels
only. One quirk is not reproduced: there k-means starts once, here it keeps the best of ten starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, Self

import numpy as np

from limbeck.arrays import Latents
from limbeck.data.base import Fit, ImageSource
from limbeck.diffusion.samplers import Sampler, ddim, ddpm, refuse_no_variance
from limbeck.diffusion.steering import Pull, PullNoise, Variance
from limbeck.errors import ConfigError
from limbeck.memory.work import Work
from limbeck.methods.base import Progress, Unit
from limbeck.methods.shared.by_class import class_counts, refuse_small_classes
from limbeck.methods.shared.clustering import COPIES, FullKMeans, warm_up
from limbeck.methods.shared.encoding import encoded
from limbeck.methods.shared.generation import Start
from limbeck.methods.shared.respaced import RespacedWalk, ToTargets
from limbeck.models import Models
from limbeck.randomness import small_seed


@dataclass(frozen=True, kw_only=True)
class MGD3(RespacedWalk):
    """Mode guidance.

    Args:
        ipc: Images per class, and modes.
        seed, num_steps, guidance_scale, guided_channels: As `RespacedWalk`.
        mode_scale: The paper's lambda; 0 samples without modes.
        stop: The paper's t_stop: the walk is guided at the levels above it.
        sampling: "ddpm" moves the end of a step by its spread, "ddim" changes the predicted noise.
        variance: Of a step of "ddpm"; "learned" needs a network with learned sigma.
        fit: How real images become square.
        scratch_bytes: The most that the latents of a class may take, in bytes; clustering needs about twice that.
    """

    name: ClassVar[str] = "mgd3"
    mode_scale: float = 0.1
    stop: int = 25
    sampling: Literal["ddpm", "ddim"] = "ddpm"
    variance: Variance = "learned"
    fit: Fit = "crop"
    scratch_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        super().__post_init__()
        if not 0 <= self.stop < self.num_steps:
            raise ConfigError(
                f"stop is a level, 0..{self.num_steps - 1} of num_steps={self.num_steps}; got {self.stop}"
            )
        if not math.isfinite(self.mode_scale):
            raise ConfigError(f"mode_scale must be a finite number, got {self.mode_scale}")

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The paper's settings."""
        return cls(ipc=ipc, seed=seed, guided_channels=3)

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse small or unknown classes, walks and guidance that cannot be, and latents beyond `scratch_bytes`."""
        super().check(source, models)
        if self.sampling == "ddpm":
            refuse_no_variance(models.denoiser, self.variance)
        refuse_small_classes(source, ipc=self.ipc)
        largest = max(class_counts(source))
        needed = largest * 4 * math.prod(models.latent_shape)
        if needed > self.scratch_bytes:
            raise ConfigError(
                f"the largest class has {largest} images, whose latents take {needed:,} bytes; scratch_bytes "
                f"allows {self.scratch_bytes:,}: raise it"
            )

    def warm_up(self) -> None:
        """scikit-learn, with SciPy and the buffers of its OpenBLAS."""
        warm_up()

    def work(self, source: ImageSource, models: Models) -> Work:
        """Encode every image once, walk each sample down, decode it."""
        counts = class_counts(source)
        scratch = COPIES * max(counts) * 4 * math.prod(models.latent_shape)
        return self.walked(class_images=counts, images_per_class=self.ipc, scratch_nbytes=scratch, models=models)

    def starts(self, units: Sequence[Unit], source: ImageSource, models: Models) -> Iterator[Start | Progress]:
        """The modes of each class."""
        counts = class_counts(source)
        num_images = sum(counts[class_id] for unit in units for class_id in unit.class_ids)
        count = 0
        for unit in units:
            (class_id,) = unit.class_ids
            name = source.class_names[class_id]
            clusters = FullKMeans(self.ipc, seed=small_seed(self.seed, name, "k-means"))
            for latents in encoded(class_id, source, models, fit=self.fit):
                clusters.add(latents)
                count += len(latents)
                yield Progress("encode", count, num_images)
            for index, mode in enumerate(clusters.centers().reshape(self.ipc, *models.latent_shape)):
                yield Start(unit, name, index, mode)

    def sampler_of(self, batch: Sequence[Start], models: Models) -> Sampler:
        """From noise, guided to the modes."""
        noise = np.stack([self.noise(start.class_name, start.index, models.latent_shape) for start in batch])
        return ToTargets(run=lambda modes: self._guided_to(modes, models), noise=noise, level=None)

    def _guided_to(self, modes: Latents, models: Models) -> Sampler:
        window = (self.time_of(self.stop, models) + 1, models.schedule.num_times)
        if self.sampling == "ddim":
            return partial(ddim, steer=PullNoise(targets=modes, scale=self.mode_scale, window=window))
        pull = Pull(targets=modes, scale=self.mode_scale, window=window, reference="clean")
        return partial(ddpm, variance=self.variance, steer=pull)
