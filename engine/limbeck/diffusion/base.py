"""The contracts of the diffusion layer: what a sampler or a method may ask of a network.

Foreign conventions (v-prediction, learned sigma, scaling factors, pixel ranges) end at the adapters in
`denoiser.py` and `codec.py`. Above them a denoiser predicts the noise, a latent has unit variance, and a pixel
lies in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

from limbeck.arrays import Images, Latents, Times


class Condition(Protocol):
    """What a batch of samples is conditioned on; row i belongs to sample i. Immutable."""

    def __len__(self) -> int: ...

    def take(self, rows: Sequence[int]) -> Self:
        """The condition of these samples, in this order."""
        ...

    def join(self, other: Self) -> Self:
        """This condition's rows, then the other's."""
        ...


class Conditioning(Protocol):
    """Makes conditions from what users have: class names. By class id for a DiT, by prompt for a UNet."""

    def of_classes(self, names: Sequence[str]) -> Condition:
        """One row a name. Raises `ConfigError` for a name that the network does not know."""
        ...

    def null(self, batch: int) -> Condition:
        """`batch` rows of no condition, for classifier-free guidance."""
        ...


class Denoiser(Protocol):
    """Predicts the noise in a latent; always noise, whatever the network predicts."""

    def __call__(self, latents: Latents, times: Times, condition: Condition) -> Latents:
        """The noise, shape of `latents`. `times` is one a sample, so samples at different steps share a batch."""
        ...


class PreparedDenoiser(Denoiser, Protocol):
    """A denoiser that can be told beforehand what it will be asked, while the network that makes it is loaded."""

    def prepare(self, times: Times, condition: Condition) -> None:
        """Remember what any of `times` with any row of `condition` needs."""
        ...


class VarianceDenoiser(Denoiser, Protocol):
    """A denoiser with learned sigma."""

    def with_variance(self, latents: Latents, times: Times, condition: Condition) -> tuple[Latents, Latents]:
        """The noise, and the raw variance interpolation `v` in about [-1, 1] (Nichol & Dhariwal 2021, eq. 15)."""
        ...


class LatentCodec(Protocol):
    """The VAE."""

    def encode(self, images: Images) -> Latents:
        """The posterior's mean, scaled to unit variance; sampling is the caller's."""
        ...

    def posterior(self, images: Images) -> tuple[Latents, Latents]:
        """Mean and standard deviation of the posterior, in scaled latents; zeros where the codec has no spread."""
        ...

    def decode(self, latents: Latents) -> Images:
        """Pixels in [0, 1], clipped."""
        ...
