"""The pack's image codec: the original TAESD3 weights as a diffusers `AutoencoderTiny`.

Images are in [-1, 1] on both sides, as diffusers' class expects and returns (the original networks use
[0, 1]; the class converts inside). An image of side 64 becomes a latent of shape (16, 8, 8).

    python -m tools.mini.codec ENCODER.safetensors DECODER.safetensors
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file
from tools.mini.images import read_split
from torch import Tensor

LATENT_CHANNELS = 16
# The original decoder is a Sequential whose layer 0 clamps the latents; diffusers does that in `forward`,
# so its layer numbers are one lower.
DECODER_LAYER_OFFSET = 1


def load_taesd3(encoder: Path, decoder: Path) -> AutoencoderTiny:
    """The codec in float32 and evaluation mode, from the two original TAESD3 files."""
    codec = AutoencoderTiny(latent_channels=LATENT_CHANNELS)
    weights = _renamed(load_file(encoder), "encoder", 0) | _renamed(load_file(decoder), "decoder", DECODER_LAYER_OFFSET)
    codec.load_state_dict(weights)
    return codec.eval().requires_grad_(False)


def _renamed(weights: dict[str, Tensor], part: str, offset: int) -> dict[str, Tensor]:
    """Original names such as `3.conv.0.bias` as diffusers' `decoder.layers.2.conv.0.bias`, float32."""
    renamed = {}
    for name, value in weights.items():
        layer, rest = name.split(".", 1)
        renamed[f"{part}.layers.{int(layer) - offset}.{rest}"] = value.float()
    return renamed


@torch.no_grad()
def encode(codec: AutoencoderTiny, images: Tensor, batch: int = 64) -> Tensor:
    """Raw latents of images in [-1, 1], shape (count, 16, height / 8, width / 8), on the CPU."""
    return torch.cat([codec.encode(part.to(codec.device)).latents.cpu() for part in images.split(batch)])


@torch.no_grad()
def decode(codec: AutoencoderTiny, latents: Tensor, batch: int = 64) -> Tensor:
    """Images in [-1, 1] of raw latents, on the CPU."""
    return torch.cat([codec.decode(part.to(codec.device)).sample.cpu().clamp(-1, 1) for part in latents.split(batch)])


@dataclass(frozen=True, kw_only=True)
class LatentScale:
    """Per-channel mean and standard deviation that make the latents of the training split standard.

    Args:
        latents_mean: One value a channel, of raw codec latents.
        latents_std: One value a channel.
    """

    latents_mean: tuple[float, ...]
    latents_std: tuple[float, ...]

    @classmethod
    def measured(cls, latents: Tensor) -> Self:
        """From raw latents of shape (count, channels, height, width), over all positions."""
        mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
        return cls(latents_mean=tuple(mean.tolist()), latents_std=tuple(std.tolist()))

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a JSON file that `write` made."""
        return cls(**{key: tuple(values) for key, values in json.loads(path.read_text()).items()})

    def write(self, path: Path) -> None:
        """As JSON with the two lists `latents_mean` and `latents_std`."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def standardize(self, latents: Tensor) -> Tensor:
        """Raw latents to those the denoiser sees."""
        return (latents - self._column(self.latents_mean, latents)) / self._column(self.latents_std, latents)

    def restore(self, latents: Tensor) -> Tensor:
        """The denoiser's latents to raw ones; the inverse of `standardize`."""
        return latents * self._column(self.latents_std, latents) + self._column(self.latents_mean, latents)

    @staticmethod
    def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]


def psnr(images: Tensor, others: Tensor) -> float:
    """Mean over images of the peak signal-to-noise ratio in dB; the range [-1, 1] has a peak of 2."""
    error = (images - others).square().mean(dim=(1, 2, 3))
    return float((10 * torch.log10(4 / error)).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the reconstruction PSNR on both splits and the latent statistics of the training split."""
    parser = argparse.ArgumentParser(description="check the TAESD3 codec on the sign digits")
    parser.add_argument("encoder", type=Path)
    parser.add_argument("decoder", type=Path)
    parser.add_argument("--data", type=Path, default=Path("examples/data/sign_digits"))
    options = parser.parse_args(arguments)
    codec = load_taesd3(options.encoder, options.decoder)
    for name in ("train", "test"):
        images = read_split(options.data / name).images
        latents = encode(codec, images)
        print(f"{name}: reconstruction PSNR {psnr(images, decode(codec, latents)):.2f} dB")
        if name == "train":
            print(LatentScale.measured(latents))


if __name__ == "__main__":
    main()
