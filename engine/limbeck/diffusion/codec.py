"""`PackCodec`: pixels to latents of unit variance and back, on a pack's encoder and decoder engines.

Pixel ranges and latent statistics end here: above, pixels lie in [0, 1] and latents have unit variance.
"""

from __future__ import annotations

import numpy as np

from limbeck.arrays import Array, Images, Latents
from limbeck.diffusion.batching import in_buckets
from limbeck.engine import Runnable
from limbeck.pack import CodecInfo


class PackCodec:
    """A VAE of a pack.

    Args:
        info: Ranges and statistics, from the pack.
        encoder: The encoder engine.
        decoder: The decoder engine.
        bucket: Images in one engine call; smaller batches are padded to it.
    """

    def __init__(self, info: CodecInfo, encoder: Runnable, decoder: Runnable, *, bucket: int) -> None:
        """Keep the engines; they are closed by whoever compiled them."""
        self._info = info
        self._encoder = encoder
        self._decoder = decoder
        self._bucket = bucket
        self._mean = np.asarray(info.latent_mean, np.float32)[:, None, None]
        self._std = np.asarray(info.latent_std, np.float32)[:, None, None]

    def encode(self, images: Images) -> Latents:
        """The posterior's mean, scaled to unit variance."""
        return (self._encode(images)["latents"] - self._mean) / self._std

    def posterior(self, images: Images) -> tuple[Latents, Latents]:
        """Mean and standard deviation of the posterior, in scaled latents; zeros for an autoencoder without one."""
        raw = self._encode(images)
        mean = (raw["latents"] - self._mean) / self._std
        if not self._info.has_posterior:
            return mean, np.zeros_like(mean)
        # diffusers clamps the log variance to this range before it samples
        std = np.exp(0.5 * np.clip(raw["log_variance"], -30.0, 20.0)) / self._std
        return mean, std.astype(np.float32)

    def decode(self, latents: Latents) -> Images:
        """Pixels in [0, 1], clipped."""
        raw = latents * self._std + self._mean
        pixels = in_buckets(self._decoder.run, {"latents": raw}, bucket=self._bucket)["pixels"]
        low, high = self._info.pixel_range
        images: Images = np.clip((pixels - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
        return images

    def _encode(self, images: Images) -> dict[str, Array]:
        low, high = self._info.pixel_range
        pixels = images * np.float32(high - low) + np.float32(low)
        return in_buckets(self._encoder.run, {"pixels": pixels}, bucket=self._bucket)
