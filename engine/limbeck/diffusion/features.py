"""`DiffusionFeatures`: what a denoiser computes on its way to the noise, as features of each place of a latent.

Tang et al., "Emergent Correspondence from Image Diffusion", NeurIPS 2023 (DIFT): the maps inside a denoiser, asked at
an early time, say what is where.
"""

from __future__ import annotations

from typing import Protocol

from limbeck.arrays import Latents, Maps, Times
from limbeck.diffusion.base import Condition
from limbeck.engine import Runnable


class CutDenoiser(Protocol):
    """A denoiser that also asks a part of its trunk."""

    def features(self, engine: Runnable, latents: Latents, times: Times, condition: Condition) -> Maps:
        """What `engine`, a part of the trunk, makes of what the trunk is given."""
        ...


class DiffusionFeatures:
    """Maps of noised latents.

    Args:
        denoiser: Makes what the trunk is given, and remembers it.
        engine: The trunk up to one of its blocks.
        block: Which block that is; None if it is not known.
    """

    def __init__(self, denoiser: CutDenoiser, engine: Runnable, *, block: int | None = None) -> None:
        """Keep the engine; it is closed by whoever compiled it."""
        self.block = block
        self._denoiser = denoiser
        self._engine = engine

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the maps of one latent."""
        (output,) = self._engine.spec.outputs
        channels, height, width = (int(size) for size in output.shape[1:])
        return channels, height, width

    def maps(self, latents: Latents, times: Times, condition: Condition) -> Maps:
        """Shape (batch, channels, height, width); `latents` are noised to `times`, one time a sample."""
        return self._denoiser.features(self._engine, latents, times, condition)
