"""Minimax: plain sampling from noise, of a DiT that was fine-tuned to be both typical and diverse.

Gu et al., "Efficient Dataset Distillation via Minimax Diffusion", CVPR 2024. The method is in the fine-tuning, which
is not here: give a pack that was exported from a network fine-tuned with the official code. For every class:

1. sample - carry `ipc` latents of pure noise down by DDPM with the class as condition;
2. decode.

Of the source only the class names are used, no image. With a pack that was not fine-tuned this is the baseline that
papers call "DiT".

`Minimax.faithful` has the settings of the official code, whose guidance acts on the first three latent channels
only. One quirk is not reproduced: a smaller set is not the first files, in string order, of a set of 100 a class;
here each image has randomness of its own, so the first `ipc` are as good a choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self

from limbeck.data.base import ImageSource
from limbeck.diffusion.samplers import Sampler, ddpm, refuse_no_variance
from limbeck.diffusion.steering import Variance
from limbeck.memory.work import Work
from limbeck.methods.base import Unit
from limbeck.methods.shared.generation import Start
from limbeck.methods.shared.respaced import RespacedWalk
from limbeck.models import Models


@dataclass(frozen=True, kw_only=True)
class Minimax(RespacedWalk):
    """Sampling from noise.

    Args:
        ipc, seed, num_steps, guidance_scale, guided_channels: As `RespacedWalk`.
        variance: Of the noise that a step adds; "learned" needs a network with learned sigma.
    """

    name: ClassVar[str] = "minimax"
    variance: Variance = "learned"

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The settings of the official `sample.py`."""
        return cls(ipc=ipc, seed=seed, guided_channels=3)

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse unknown classes, walks and guidance that cannot be, and a variance that the network lacks."""
        super().check(source, models)
        refuse_no_variance(models.denoiser, self.variance)

    def work(self, source: ImageSource, models: Models) -> Work:
        """Walk every image down and decode it; none is read."""
        none_read = (0,) * len(source.class_names)
        return self.walked(class_images=none_read, images_per_class=self.ipc, scratch_nbytes=0, models=models)

    def sampler_of(self, batch: Sequence[Start], models: Models) -> Sampler:
        """DDPM."""
        return partial(ddpm, variance=self.variance)

    def starts(self, units: Sequence[Unit], source: ImageSource, models: Models) -> Iterator[Start]:
        """Noise."""
        for unit in units:
            (class_id,) = unit.class_ids
            name = source.class_names[class_id]
            for index in range(self.ipc):
                yield Start(unit, name, index, self.noise(name, index, models.latent_shape))
