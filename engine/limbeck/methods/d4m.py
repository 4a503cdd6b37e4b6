"""D4M: prototypes of each class in latent space, noised a little and denoised with the class.

Su et al., "D4M: Dataset Distillation via Disentangled Diffusion Model", CVPR 2024. For every class:

1. encode    - carry its images to latents;
2. cluster   - k-means with `ipc` centers: the class's prototypes, blurry averages of many images;
3. noise     - carry each prototype up to `strength` of the schedule;
4. sample    - denoise it with the class as condition, which gives the detail back, and decode it.

`D4M.faithful` has the settings of the official release. Its quirks that shape the result are settings here
(mini-batch k-means over shuffled images, whose first batch is `ipc` of them, a sampled posterior, distorted aspect, the
PNDM sampler); its bugs are not reproduced: latents left over from the last mini-batch of a class are clustered too,
every image's seed is recorded, and no safety checker turns images black. Nor are its filters and its size kept: real
images are read with Lanczos' filter instead of the bilinear one, and what is decoded is stored as it is, 512 pixels of
Stable Diffusion, where the release reduces it to 224 with the bicubic filter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from limbeck.data.base import ImageSource
from limbeck.diffusion.base import Condition
from limbeck.errors import ConfigError
from limbeck.memory.work import Work
from limbeck.methods.base import Progress, Unit
from limbeck.methods.shared.by_class import class_counts
from limbeck.methods.shared.clustering import COPIES, Clustering, Clusters, FullKMeans, StreamedKMeans
from limbeck.methods.shared.encoding import encoded
from limbeck.methods.shared.generation import Start
from limbeck.methods.shared.noised_prototypes import NoisedPrototypes
from limbeck.methods.shared.prompting import takes_prompts
from limbeck.methods.shared.settings import refuse_below_one
from limbeck.models import Models
from limbeck.randomness import generator, small_seed

NOT_READ = "negative_prompt was left out: the denoiser knows classes alone"
"""What the manifest says of an image whose negative prompt nothing could read."""


@dataclass(frozen=True, kw_only=True)
class D4M(NoisedPrototypes):
    """Latent prototypes, denoised.

    Args:
        ipc, seed, num_steps, strength, guidance_scale, guidance_interval, guided_channels, sampler, fit: As
            `NoisedPrototypes`.
        negative_prompt: What guidance leads away from; None is no condition. A denoiser that knows classes alone
            cannot read it: it is left out, and the row of each image says so.
        condition: "class" gives the denoiser the class; "none" the null condition, for classes it does not know.
        clustering: "full" holds all latents of a class; "minibatch" streams them.
        batch_factor: Mini-batch k-means is fed `batch_factor * ipc` latents at a time.
        shuffle_buffer: It is fed them in an order that is drawn among so many, as sources are often sorted; 1 keeps
            the source's.
        sample_posterior: Draw the latent of a real image from the codec's posterior instead of taking its mean.
        scratch_bytes: The most that the held latents of a class may take, in bytes, all with "full" and
            `shuffle_buffer` with "minibatch"; clustering all of them needs about twice that.
    """

    name: ClassVar[str] = "d4m"
    condition: Literal["class", "none"] = "class"
    clustering: Clustering = "full"
    batch_factor: int = 10
    shuffle_buffer: int = 1024
    sample_posterior: bool = False
    scratch_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        super().__post_init__()
        refuse_below_one(self, "batch_factor", "shuffle_buffer")

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The settings of the official release (its README's script for ImageNet).

        Its denoiser is told in text. One that knows classes alone cannot read the negative prompt: guidance then leads
        away from no condition, and the row of each image says so.
        """
        return cls(
            ipc=ipc,
            seed=seed,
            num_steps=50,
            strength=0.7,
            guidance_scale=8.0,
            negative_prompt="cartoon, anime, painting",
            sampler="pndm-img2img",
            clustering="minibatch",
            batch_factor=1,
            sample_posterior=True,
            fit="squash",
        )

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse small or unknown classes, walks and guidance that cannot be, and latents beyond `scratch_bytes`."""
        super().check(source, models)
        if self.condition == "class":
            models.conditioning.of_classes(source.class_names)
        largest = max(class_counts(source))
        held = largest if self.clustering == "full" else min(largest, self.shuffle_buffer)
        needed = held * 4 * math.prod(models.latent_shape)
        if needed > self.scratch_bytes:
            less = (
                "set clustering=minibatch, which streams them" if self.clustering == "full" else "lower shuffle_buffer"
            )
            raise ConfigError(
                f"the largest class has {largest} images; {held} latents at a time take {needed:,} bytes, "
                f"scratch_bytes allows {self.scratch_bytes:,}\n{less}, or raise scratch_bytes"
            )

    def work(self, source: ImageSource, models: Models) -> Work:
        """Encode every image once, walk each prototype down, decode it."""
        counts = class_counts(source)
        largest = max(counts)
        held = (
            COPIES * largest
            if self.clustering == "full"
            else COPIES * min(largest, 2 * self.batch_factor * self.ipc) + min(largest, self.shuffle_buffer)
        )
        scratch = held * 4 * math.prod(models.latent_shape)
        return self.walked(class_images=counts, images_per_class=self.ipc, scratch_nbytes=scratch, models=models)

    def condition_of(self, batch: Sequence[Start], models: Models) -> Condition:
        """The classes, or nothing."""
        return models.conditioning.null(len(batch)) if self.condition == "none" else super().condition_of(batch, models)

    def starts(self, units: Sequence[Unit], source: ImageSource, models: Models) -> Iterator[Start | Progress]:
        """The prototypes of each class."""
        num_images = sum(len(source.names(class_id)) for unit in units for class_id in unit.class_ids)
        count = 0
        row = self._row(models)
        for unit in units:
            (class_id,) = unit.class_ids
            name = source.class_names[class_id]
            clusters = self._clusters(name)
            drawn_by = self.seed if self.sample_posterior else None
            for latents in encoded(class_id, source, models, fit=self.fit, posterior_seed=drawn_by):
                clusters.add(latents)
                count += len(latents)
                yield Progress("encode", count, num_images)
            for index, center in enumerate(clusters.centers().reshape(self.ipc, *models.latent_shape)):
                yield Start(unit, name, index, center, row=row)

    def _row(self, models: Models) -> Mapping[str, object]:
        """What the manifest says of every image."""
        if self.negative_prompt is None:
            return {}
        if takes_prompts(models.conditioning):
            return {"negative_prompt": self.negative_prompt}
        return {"note": NOT_READ}

    def _clusters(self, class_name: str) -> Clusters:
        seed = small_seed(self.seed, class_name, "k-means")
        if self.clustering == "full":
            return FullKMeans(self.ipc, seed=seed)
        return StreamedKMeans(
            self.ipc,
            chunk=self.batch_factor * self.ipc,
            buffer=self.shuffle_buffer,
            seed=seed,
            shuffle=generator(self.seed, class_name, 0, "shuffle"),
        )
