"""DIVER: an already distilled set, each image made again by a diffusion model that inherits its meaning.

"DIVER", ICML 2026 (arXiv 2605.12649). The source is the distilled set of any method; no real image is seen. For
every image:

1. inherit - carry it to a latent z0, noised to level `noise_level` (t_f), and walk it down from `reverse_start` (t_r)
             levels with the class as condition: the network is told more noise than there is, and a trace stays;
2. guide   - at the levels of `window` ([t_l, t_h]) move the end of a step by -gamma * sigma * (z_t - z0);
3. fuse    - above and below the window, the chaotic phase and the refinement, the walk is left alone; decode.

The code was not released. `DIVER.faithful` has the paper's settings, the posterior sampled, and the guidance of code of
the same authors for another paper: scale 4, on the first three channels. What the paper leaves open is a setting: sigma
may be the posterior's of the step or the network's own; and the pull may act on z_t, as the formula says, which shrinks
its noise too, or on the predicted clean latent ("x0hat"), as that code does. Pixels that were stored normalized are
brought back by the source (`normalization`), or left raw there, as in that code. Not kept: the paper enlarges the set's
images with the bilinear filter, limbeck with Lanczos'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import ClassVar, Literal, Self

import numpy as np

from limbeck.arrays import Latents, Times
from limbeck.data.base import Fit, ImageSource
from limbeck.diffusion.samplers import Sampler, ddim, refuse_no_variance
from limbeck.diffusion.steering import Pull
from limbeck.errors import ConfigError, DataError
from limbeck.memory.work import Work
from limbeck.methods.base import NO_STATES, DistilledImages, Event, Progress, State, Unit
from limbeck.methods.shared.by_class import class_counts
from limbeck.methods.shared.encoding import encoded
from limbeck.methods.shared.generation import Start
from limbeck.methods.shared.respaced import RespacedWalk, ToTargets
from limbeck.methods.shared.tiles import laid
from limbeck.models import Models

_MOST_TILES = 64
"""A side; more would be smaller than a pixel of most images."""


@dataclass(frozen=True, kw_only=True)
class DIVER(RespacedWalk):
    """Inheritance, guidance and fusion.

    Args:
        ipc: Images per class; the source must have exactly as many.
        seed, num_steps, guidance_scale, guided_channels: As `RespacedWalk`.
        noise_level: The paper's t_f: the level that a latent is noised to.
        reverse_start: The paper's t_r: how many levels are walked down, whatever `noise_level` is.
        window: The lowest and the highest level at which the walk is guided, the paper's t_l and t_h.
        gamma: How strongly; 0 is not at all. The paper has 0.02 for NCFM's sets.
        target: What is held against z0: the noisy latent "zt", or the predicted clean one, "x0hat".
        sigma: The spread of a step: the "posterior"'s, or "learned" by the network.
        arm: "diver"; or a control: "sdedit" walks down from `noise_level` itself, unguided, and "vae" decodes z0.
        sample_posterior: Draw z0 from the codec's posterior instead of taking its mean.
        tiles_per_side: 2 for sets whose images are 2 x 2 mosaics (NCFM): each tile is cut out as it is stored and
            carried alone, at the full size.
        fit: How images become square.
    """

    name: ClassVar[str] = "diver"
    noise_level: int = 25
    reverse_start: int = 50
    window: tuple[int, int] = (25, 40)
    gamma: float = 0.1
    target: Literal["zt", "x0hat"] = "zt"
    sigma: Literal["posterior", "learned"] = "posterior"
    arm: Literal["diver", "sdedit", "vae"] = "diver"
    sample_posterior: bool = False
    tiles_per_side: int = 1
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        super().__post_init__()
        if not 1 <= self.tiles_per_side <= _MOST_TILES:
            raise ConfigError(f"tiles_per_side must lie in 1..{_MOST_TILES}, got {self.tiles_per_side}")
        levels = f"a level, 0..{self.num_steps - 1} of num_steps={self.num_steps}"
        if self.arm != "vae" and not 0 <= self.noise_level < self.num_steps:
            raise ConfigError(f"noise_level is {levels}; got {self.noise_level}")
        if self.arm == "diver" and not 1 <= self.reverse_start <= self.num_steps:
            raise ConfigError(
                f"reverse_start is a number of levels, 1..{self.num_steps} of num_steps={self.num_steps}; "
                f"got {self.reverse_start}"
            )
        low, high = self.window
        if self.arm == "diver" and not 0 <= low <= high < self.num_steps:
            raise ConfigError(f"window must be two rising levels, each {levels}; got {self.window}")

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The paper's settings."""
        return cls(ipc=ipc, seed=seed, guided_channels=3, sample_posterior=True)

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse a set of another size, unknown classes, and walks and guidance that cannot be."""
        for name, count in zip(source.class_names, class_counts(source), strict=True):
            if count != self.ipc:
                fewer = "fewer" if count < self.ipc else "more"
                raise DataError(
                    f"class '{name}' has {count} images, {fewer} than ipc={self.ipc}; diver makes every image of a "
                    "distilled set again: give such a set, and the ipc that it has"
                )
        super().check(source, models)
        if self.arm == "diver":
            refuse_no_variance(models.denoiser, self.sigma)

    def work(self, source: ImageSource, models: Models) -> Work:
        """Encode every image, walk it down, decode it."""
        counts = [self._walked_per_class] * len(source.class_names)
        return self.walked(
            class_images=counts, images_per_class=self._walked_per_class, scratch_nbytes=0, models=models
        )

    def distill(
        self,
        units: Sequence[Unit],
        source: ImageSource,
        models: Models,
        *,
        resume: Mapping[int, State] = NO_STATES,
    ) -> Iterator[Event]:
        """Make `units`; batches are filled across classes up to the bucket, and mosaics laid again."""
        for event in self.made(units, source, models, images_per_class=self._walked_per_class):
            yield self._laid(event) if isinstance(event, DistilledImages) else event

    def times(self, models: Models) -> Times:
        """The last levels of the whole walk, as many as the arm walks."""
        walked = {"diver": self.reverse_start, "sdedit": self.noise_level + 1, "vae": 0}[self.arm]
        return super().times(models)[self.num_steps - walked :]

    def starts(self, units: Sequence[Unit], source: ImageSource, models: Models) -> Iterator[Start | Progress]:
        """The latent of each image of the source, in its order."""
        drawn_by = self.seed if self.sample_posterior else None
        per_class = self._walked_per_class
        for number, unit in enumerate(units):
            (class_id,) = unit.class_ids
            name, sources = source.class_names[class_id], source.names(class_id)
            batches = encoded(
                class_id, source, models, fit=self.fit, posterior_seed=drawn_by, tiles=self.tiles_per_side
            )
            for index, latent in enumerate(chain.from_iterable(batches)):
                yield Progress("encode", number * per_class + index + 1, len(units) * per_class)
                yield Start(unit, name, index, latent, row={"source": sources[index // self.tiles_per_side**2]})

    def sampler_of(self, batch: Sequence[Start], models: Models) -> Sampler:
        """DDIM from the noised latents, guided back to them."""
        if self.arm == "vae":
            return ddim
        noise = np.stack([self.noise(start.class_name, start.index, models.latent_shape) for start in batch])
        level = self.time_of(self.noise_level, models)
        return ToTargets(run=lambda targets: self._guided_to(targets, models), noise=noise, level=level)

    @property
    def _walked_per_class(self) -> int:
        return self.ipc * self.tiles_per_side**2

    def _laid(self, made: DistilledImages) -> DistilledImages:
        rows = made.rows[:: self.tiles_per_side**2]
        return replace(
            made,
            images=laid(made.images, per_side=self.tiles_per_side),
            class_ids=made.unit.class_ids * self.ipc,
            rows=tuple({**row, "index": index} for index, row in enumerate(rows)),
        )

    def _guided_to(self, targets: Latents, models: Models) -> Sampler:
        if self.arm == "sdedit":
            return ddim
        low, high = self.window
        pull = Pull(
            targets=targets,
            scale=self.gamma,
            window=(self.time_of(low, models), self.time_of(high, models)),
            reference="noisy" if self.target == "zt" else "clean",
        )
        return partial(ddim, variance=self.sigma, steer=pull)
