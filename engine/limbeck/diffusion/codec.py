"""`PackCodec`: pixels to latents of unit variance and back, on a pack's encoder and decoder engines.

Pixel ranges and latent statistics end here: above, pixels lie in [0, 1] and latents have unit variance.
"""

from __future__ import annotations

import numpy as np

from limbeck.arrays import Array, Images, Latents
from limbeck.diffusion.batching import in_buckets
from limbeck.diffusion.tiling import Tiling, tiled
from limbeck.engine import Runnable
from limbeck.pack import CodecInfo


class PackCodec:
    """A VAE of a pack.

    Args:
        info: Ranges and statistics, from the pack.
        encoder: The encoder engine.
        decoder: The decoder engine.
        bucket: Images in one engine call; smaller batches are padded to it.
        tile: Height and width, in latents, of the tiles that images are cut in; None runs the engines on whole images.
            Neighbors overlap by a quarter of it.
    """

    def __init__(
        self, info: CodecInfo, encoder: Runnable, decoder: Runnable, *, bucket: int, tile: int | None = None
    ) -> None:
        """Keep the engines; they are closed by whoever compiled them."""
        self._tiling = None if tile is None else Tiling.of(tile)
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
        pixels = self._decode(raw)
        low, high = self._info.pixel_range
        images: Images = np.clip((pixels - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
        return images

    def _encode(self, images: Images) -> dict[str, Array]:
        low, high = self._info.pixel_range
        pixels = images * np.float32(high - low) + np.float32(low)
        if self._tiling is None:
            return in_buckets(self._encoder.run, {"pixels": pixels}, bucket=self._bucket)
        names = [tensor.name for tensor in self._encoder.spec.outputs]

        def run(part: Array) -> Array:
            made = in_buckets(self._encoder.run, {"pixels": part}, bucket=self._bucket)
            return np.concatenate([made[name] for name in names], axis=1)

        both = tiled(run, pixels, self._tiling, scale_in=self._info.downsample)
        return dict(zip(names, np.split(both, len(names), axis=1), strict=True))

    def _decode(self, raw: Latents) -> Images:
        def run(part: Array) -> Array:
            return in_buckets(self._decoder.run, {"latents": part}, bucket=self._bucket)["pixels"]

        if self._tiling is None:
            return run(raw)
        return tiled(run, raw, self._tiling, scale_out=self._info.downsample)
