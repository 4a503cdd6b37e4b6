"""A VAE of diffusers to two graphs, `encoder` and `decoder`, free in height and width.

Both graphs speak raw latents; the mean and standard deviation that make them standard go into the manifest, as
the run world applies them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from limbeck.backends.base import GraphSpec, TensorSpec
from limbeck.errors import ExportError
from limbeck.export.graph import Tracing
from limbeck.export.options import ExportOptions
from limbeck.export.parity import export_checked
from limbeck.pack import CodecInfo, GraphEntry, Role

KINDS: Mapping[str, Literal["tiny", "kl"]] = {"AutoencoderTiny": "tiny", "AutoencoderKL": "kl"}
"""Diffusers' class names, and what a pack calls them. Both take and give pixels in [-1, 1]."""

_LATENT_HEIGHT = 6
_LATENT_WIDTH = 10
"""The size that is traced and compared: small, and not square, so that no one takes height for width."""


class KLEncoder(nn.Module):
    """Pixels to the posterior's mean and log variance, clamped to [-30, 20] as diffusers does."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, 3, height, width) to two of (batch, channels, height / downsample, width / downsample)."""
        posterior = self.codec.encode(pixels).latent_dist
        return posterior.mean, posterior.logvar


class TinyEncoder(nn.Module):
    """Pixels to latents."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 3, height, width) to (batch, channels, height / downsample, width / downsample)."""
        latents: Tensor = self.codec.encode(pixels).latents
        return latents


class Decoder(nn.Module):
    """Latents to pixels."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, latents: Tensor) -> Tensor:
        """The inverse shapes of the encoder's."""
        pixels: Tensor = self.codec.decode(latents).sample
        return pixels


def describe_codec(codec: Any, config: Mapping[str, Any], options: ExportOptions) -> CodecInfo:
    """What the manifest says of a VAE.

    Args:
        codec: An `AutoencoderTiny` or `AutoencoderKL`.
        config: Its `config.json` as it stands, with what the class does not know (`AutoencoderTiny` drops
            `latents_mean`).
        options: `latent_stats` goes before the config.

    Raises:
        ExportError: Statistics with another number of channels, or a spread that is not positive.
    """
    kind = KINDS[type(codec).__name__]
    channels = int(codec.config.latent_channels)
    mean, std = _latent_stats(config, channels, options)
    blocks = codec.config.block_out_channels if kind == "kl" else codec.config.encoder_block_out_channels
    return CodecInfo(
        kind=kind,
        latent_channels=channels,
        downsample=2 ** (len(blocks) - 1),
        latent_mean=mean,
        latent_std=std,
        has_posterior=kind == "kl",
    )


def export_codec(codec: Any, info: CodecInfo, pack: Path, options: ExportOptions) -> dict[Role, GraphEntry]:
    """Write both graphs of a VAE in float32, and compare them with it.

    Raises:
        ExportError: The network cannot be traced.
        ParityError: A graph computes something else.
    """
    factor = info.downsample
    pixels = TensorSpec("pixels", "float32", ("batch", 3, "height", "width"))
    latent_shape = ("batch", info.latent_channels, "latent_height", "latent_width")
    names = ("latents", "log_variance") if info.has_posterior else ("latents",)
    latents = tuple(TensorSpec(name, "float32", latent_shape) for name in names)
    pixel_sizes = {"height": _LATENT_HEIGHT * factor, "width": _LATENT_WIDTH * factor}
    latent_sizes = {"latent_height": _LATENT_HEIGHT, "latent_width": _LATENT_WIDTH}
    encoder = Tracing(
        network=KLEncoder(codec) if info.has_posterior else TinyEncoder(codec),
        spec=GraphSpec((pixels,), latents),
        sizes={"batch": 2, **pixel_sizes},
        multiples={"height": factor, "width": factor},
    )
    decoder = Tracing(
        network=Decoder(codec), spec=GraphSpec(latents[:1], (pixels,)), sizes={"batch": 2, **latent_sizes}
    )
    return {
        "encoder": export_checked("encoder", encoder, pack, "vae_encoder", options),
        "decoder": export_checked("decoder", decoder, pack, "vae_decoder", options),
    }


def _latent_stats(
    config: Mapping[str, Any], channels: int, options: ExportOptions
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    origin, given = "the codec's config", config
    if options.latent_stats is not None:
        origin, given = str(options.latent_stats), _read_json(options.latent_stats)
    mean, std = given.get("latents_mean"), given.get("latents_std")
    if mean is None or std is None:
        if options.latent_stats is not None:
            raise ExportError(f"{origin} must have the lists latents_mean and latents_std; it has: {', '.join(given)}")
        # diffusers: scaled = (raw - shift_factor) * scaling_factor
        shift, scale = config.get("shift_factor") or 0.0, config.get("scaling_factor")
        if not _is_number(scale) or not scale:
            raise ExportError(
                f"{origin} has neither latents_mean and latents_std nor a scaling_factor above 0; it has "
                f"scaling_factor={scale!r:.40}; give the statistics of its latents with --latent-stats"
            )
        mean, std = [shift] * channels, [1 / scale] * channels
    for name, figures in (("latents_mean", mean), ("latents_std", std)):
        if not isinstance(figures, list | tuple) or not all(map(_is_number, figures)):
            raise ExportError(f"{origin} has {name} = {figures!r:.80}; it must be a list of finite numbers")
    if len(mean) != channels or len(std) != channels or not all(spread > 0 for spread in std):
        raise ExportError(
            f"{origin} gives {len(mean)} means and {len(std)} standard deviations of latents; "
            f"this codec needs {channels} of each, and each deviation above 0"
        )
    return tuple(map(float, mean)), tuple(map(float, std))


def _is_number(value: object) -> bool:
    """A finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"cannot read the latent statistics in '{path}': {error}") from error
    if not isinstance(content, dict):
        raise ExportError(
            f"'{path}' must hold an object with the lists latents_mean and latents_std; it holds {content!r:.40}"
        )
    return content
