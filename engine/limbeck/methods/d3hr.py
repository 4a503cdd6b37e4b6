"""D3HR: a class as a Gaussian in a noisy latent space, from which the most typical group is drawn.

Zhao et al., "Taming Diffusion for Dataset Distillation with High Representativeness", ICML 2025. For every class:

1. invert  - encode its images and carry them up the schedule by DDIM, where their latents are nearly Gaussian;
2. measure - mean and variance of each element, in one pass;
3. draw    - of `num_groups` groups of `ipc` Gaussian latents, keep the one whose own statistics fit best;
4. sample  - carry that group back down and decode it.

The statistics lie with the set: a set of another size is drawn from them (`statistics`), as the authors propose.

`D3HR.faithful` has the settings of the official code. Its quirks that shape the result are settings here (the walk
down starts one stride above the walk up, the skew is taken across the features of a sample with weight 0.1, the
posterior is sampled). Not kept: the last stride down ends at time 1 instead of at the clean latent; images that cannot
be read enter the statistics as black squares, where limbeck refuses them; the statistics are stored in float16, here
they are float64; and with one image a class the spread of a group is not a number, so that no group wins, where limbeck
leaves the spread out. Nor are the filters: real images are read with Lanczos' instead of the bilinear one, and what is
decoded is stored at its size, where the code reduces 256 pixels to 224 with Lanczos'.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import numpy as np

from limbeck.arrays import Array, Latents, Times
from limbeck.data.base import Fit, ImageSource
from limbeck.diffusion.samplers import Sampler, ddim
from limbeck.errors import ConfigError, DataError
from limbeck.memory.work import Walk, Work
from limbeck.methods.base import Progress, Unit
from limbeck.methods.shared.by_class import class_counts, refuse_small_classes
from limbeck.methods.shared.class_statistics import (
    COPIES,
    ClassStatistics,
    measured,
    refuse_other_origin,
    stored_statistics,
)
from limbeck.methods.shared.encoding import encoded
from limbeck.methods.shared.generation import Start, refuse_not_finite
from limbeck.methods.shared.group_search import GroupSearch, Skew, exact_group, exact_group_nbytes
from limbeck.methods.shared.guided_walk import GuidedWalk
from limbeck.methods.shared.settings import refuse_below_one
from limbeck.models import Models
from limbeck.randomness import generator


@dataclass(frozen=True, kw_only=True)
class D3HR(GuidedWalk):
    """Inversion statistics and representative groups.

    Args:
        ipc, seed, guided_channels: As `GuidedWalk`.
        num_steps: Strides of the full schedule, in both directions.
        inversion_strength: Share of the strides that the walk up makes: 0.62 of 50 ends at time 600.
        denoise_strength: Share that the walk down makes; None is as many as up.
        guidance_scale: Classifier-free guidance in both directions; 1 is none.
        num_groups: Groups that are compared; 1 is plain Gaussian sampling.
        skew: "samples": of each element over the group, as the paper; "features": of each sample over its elements,
            as the code.
        mean_weight: Weight of the mean in a group's distance, the paper's lambda_mu.
        std_weight: Weight of the spread in it, lambda_sigma.
        skew_weight: Weight of the skew in it, lambda_gamma.
        select: "group" compares groups; "exact" draws one and shifts and scales it so that its mean and spread are
            the class's.
        sample_posterior: Draw the latent of a real image from the codec's posterior instead of taking its mean.
        fit: How real images become square.
        statistics: `arrays.npz` of a set that was made of the same images with the same pack and walk up: its
            statistics are taken, and no image is inverted again. Empty measures them.
        scratch_bytes: The most that the comparison of groups takes, in bytes; with select=exact, making the one group.
    """

    name: ClassVar[str] = "d3hr"
    inversion_strength: float = 0.62
    denoise_strength: float | None = None
    num_groups: int = 1000
    skew: Skew = "samples"
    mean_weight: float = 1.0
    std_weight: float = 1.0
    skew_weight: float = 0.5
    select: Literal["group", "exact"] = "group"
    sample_posterior: bool = False
    fit: Fit = "crop"
    statistics: str = field(default="", metadata={"place": True})
    scratch_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        super().__post_init__()
        refuse_below_one(self, "num_groups")
        for share in ("inversion_strength", "denoise_strength"):
            value = getattr(self, share)
            if value is not None and not 0 < value <= 1:
                raise ConfigError(f"{share} must lie in 0..1, and above 0, got {value}")
        for weight in ("mean_weight", "std_weight", "skew_weight"):
            if not getattr(self, weight) >= 0:
                raise ConfigError(f"{weight} must be at least 0, got {getattr(self, weight)}")

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The settings of the official code, with the paper's million groups.

        On a CPU the search takes hours: one thread of a Xeon judges a group of 10 latents of 4 x 32 x 32 in 6 ms, so a
        class takes 1.7 hours. `num_groups` shortens it; the published 2.6 seconds a class are those of a GPU.
        """
        return cls(
            ipc=ipc,
            seed=seed,
            denoise_strength=0.64,
            num_groups=1_000_000,
            skew="features",
            skew_weight=0.1,
            sample_posterior=True,
        )

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse small or unknown classes, walks that cannot be, and groups beyond `scratch_bytes`."""
        refuse_small_classes(source, ipc=self.ipc)
        for name, count in zip(source.class_names, class_counts(source), strict=True):
            if count < 2:
                raise DataError(
                    f"class '{name}' has one image, and a spread needs two; leave the class out of the source"
                )
        models.conditioning.of_classes(source.class_names)
        super().check(source, models)
        if len(self._times_up(models)) < 2 or len(self.times(models)) < 2:
            up = len(self._times_up(models)) < 2
            which = "inversion_strength" if up or self.denoise_strength is None else "denoise_strength"
            raise ConfigError(
                f"{which}={getattr(self, which)} of num_steps={self.num_steps} is no step at all; raise one of them"
            )
        if self.statistics:
            refuse_other_origin(stored_statistics(self.statistics), self._decides_statistics(), source, models)
        if self.select == "group":
            self._search(models)
        elif self._exact_nbytes(models) > self.scratch_bytes:
            raise ConfigError(
                f"making a group of {self.ipc} latents exact takes {self._exact_nbytes(models):,} bytes; scratch_bytes "
                f"allows {self.scratch_bytes:,}: raise it"
            )

    def work(self, source: ImageSource, models: Models) -> Work:
        """Encode every image and walk it up; walk the chosen group of each class down and decode it."""
        counts = tuple(0 if self.statistics else count for count in class_counts(source))
        guided = self.guided(models)
        # in both directions the network is asked at the noisier end of a step
        up, down = guided.step_rows(self._times_up(models)[1:]), guided.step_rows(self.times(models)[:-1])
        drawn = self.scratch_bytes if self.select == "group" else self._exact_nbytes(models)
        kept = COPIES * len(counts) * 2 * 8 * math.prod(models.latent_shape)
        return Work(
            class_images=counts,
            images_per_class=self.ipc,
            walks=(
                *(Walk(samples=count, step_rows=up) for count in counts if count),
                *(Walk(samples=self.ipc, step_rows=down) for _ in counts),
            ),
            condition_times=len(up) + len(down),
            scratch_nbytes=drawn + kept,
            interleaved=True,
        )

    def sampler_of(self, batch: Sequence[Start], models: Models) -> Sampler:
        """DDIM, as the way up."""
        return ddim

    def starts(self, units: Sequence[Unit], source: ImageSource, models: Models) -> Iterator[Start | Progress]:
        """The chosen group of each class."""
        stored = stored_statistics(self.statistics).arrays() if self.statistics else None
        for unit in units:
            (class_id,) = unit.class_ids
            name = source.class_names[class_id]
            if stored is None:
                found = yield from measured(self.inverted(class_id, source, models))
            else:
                found = ClassStatistics.read(stored, name)
            group = yield from self._group(name, found, models)
            for index, latent in enumerate(group.reshape(self.ipc, *models.latent_shape)):
                yield Start(unit, name, index, latent, arrays=found.arrays(name))

    def _group(self, class_name: str, found: ClassStatistics, models: Models) -> Generator[Progress, None, Array]:
        def stream(index: int) -> np.random.Generator:
            return generator(self.seed, class_name, index, "group")

        stage = f"draw {class_name}"
        if self.select == "exact":
            group = exact_group(stream(0), self.ipc, found.mean, found.std)
            yield Progress(stage, 1, 1)
            return group
        return (yield from self._search(models).best(stream, found.mean, found.std, stage=stage))

    def inverted(self, class_id: int, source: ImageSource, models: Models) -> Iterator[Latents | Progress]:
        """Batches of a class's latents, carried up the schedule, with the steps that were made."""
        name, times = source.class_names[class_id], self._times_up(models)
        condition = models.conditioning.of_classes([name])
        drawn_by = self.seed if self.sample_posterior else None
        total = -(-len(source.names(class_id)) // models.bucket) * (len(times) - 1)
        done = 0
        for latents in encoded(class_id, source, models, fit=self.fit, batch=models.bucket, posterior_seed=drawn_by):
            rows = condition.take([0] * len(latents))
            for moved in ddim(self.guided(models), latents, rows, schedule=models.schedule, times=times):
                latents = moved
                done += 1
                yield Progress(f"invert {name}", done, total)
            refuse_not_finite(latents)
            yield latents

    def _times_up(self, models: Models) -> Times:
        """Rising; an encoded image counts as being at the walk's lowest time, as in the official code."""
        down = models.schedule.timesteps(self.num_steps, strength=self.inversion_strength)
        return np.ascontiguousarray(down[-2::-1])

    def times(self, models: Models) -> Times:
        """Those of the walk down."""
        strength = self.inversion_strength if self.denoise_strength is None else self.denoise_strength
        return models.schedule.timesteps(self.num_steps, strength=strength)

    def _decides_statistics(self) -> dict[str, object]:
        names = ["num_steps", "inversion_strength", "guidance_scale", "guided_channels", "sample_posterior", "fit"]
        if self.sample_posterior:
            names.append("seed")
        return {name: getattr(self, name) for name in ("name", *names)}

    def _exact_nbytes(self, models: Models) -> int:
        return exact_group_nbytes(self.ipc, math.prod(models.latent_shape))

    def _search(self, models: Models) -> GroupSearch:
        return GroupSearch(
            samples=self.ipc,
            dimensions=math.prod(models.latent_shape),
            num_groups=self.num_groups,
            skew=self.skew,
            mean_weight=self.mean_weight,
            std_weight=self.std_weight,
            skew_weight=self.skew_weight,
            scratch_bytes=self.scratch_bytes,
        )
