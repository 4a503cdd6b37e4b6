"""The networks that are compared, as torch modules that take the contest's feeds by name and order.

    dit       diffusers' DiTTransformer2DModel   latents, timestep, class_id     to  noise (and variance behind it)
    unet      diffusers' UNet2DConditionModel    latents, timestep, states       to  noise
    vae       diffusers' AutoencoderKL           latents                         to  pixels
    backbone  a network of timm                  pixels                          to  features

A source is a folder: a diffusers pipeline, or for the backbone `config.json` (timm's name and arguments) beside
`model.safetensors`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Dit(nn.Module):
    """A diffusers DiT."""

    def __init__(self, source: Path, dtype: torch.dtype) -> None:
        """Load `source/transformer`."""
        from diffusers import DiTTransformer2DModel

        super().__init__()
        self.network = DiTTransformer2DModel.from_pretrained(source / "transformer", torch_dtype=dtype).eval()

    def forward(self, latents: Tensor, timestep: Tensor, class_id: Tensor) -> Tensor:
        """The prediction: noise, and variance behind it."""
        found: Tensor = self.network(latents, timestep=timestep, class_labels=class_id, return_dict=False)[0]
        return found


class Unet(nn.Module):
    """A text-conditional UNet of diffusers."""

    def __init__(self, source: Path, dtype: torch.dtype) -> None:
        """Load `source/unet`."""
        from diffusers import UNet2DConditionModel

        super().__init__()
        self.network = UNet2DConditionModel.from_pretrained(source / "unet", torch_dtype=dtype).eval()

    def forward(self, latents: Tensor, timestep: Tensor, states: Tensor) -> Tensor:
        """The noise."""
        found: Tensor = self.network(latents, timestep, states, return_dict=False)[0]
        return found


class VaeDecoder(nn.Module):
    """The decoding half of a KL autoencoder."""

    def __init__(self, source: Path, dtype: torch.dtype) -> None:
        """Load `source/vae`; the encoder is dropped."""
        from diffusers import AutoencoderKL

        super().__init__()
        network = AutoencoderKL.from_pretrained(source / "vae", torch_dtype=dtype).eval()
        self.post_quant_conv, self.decoder = network.post_quant_conv, network.decoder

    def forward(self, latents: Tensor) -> Tensor:
        """Pixels in -1..1."""
        found: Tensor = self.decoder(self.post_quant_conv(latents))
        return found


class Backbone(nn.Module):
    """A feature network of timm, its classifier taken off."""

    def __init__(self, source: Path, dtype: torch.dtype) -> None:
        """Build what `source/config.json` names and load its weights."""
        from safetensors.torch import load_file

        super().__init__()
        config = json.loads((source / "config.json").read_text())
        self.network = timm_network(**config).to(dtype)
        self.network.load_state_dict(load_file(source / "model.safetensors"))

    def forward(self, pixels: Tensor) -> Tensor:
        """Features of normalized pixels."""
        found: Tensor = self.network(pixels)
        return found


def timm_network(**config: Any) -> nn.Module:
    """A timm network with random weights, in inference mode."""
    import timm

    network: nn.Module = timm.create_model(**config, pretrained=False, num_classes=0)
    return network.eval()


@dataclass(frozen=True, kw_only=True)
class Network:
    """How a network is loaded and fed.

    Args:
        load: (source, dtype) to a module in inference mode.
        inputs: Names of its inputs, in the order of `forward`.
        channels: How many channels of its output are compared; None for all. A DiT's learned variance is not.
    """

    load: Callable[[Path, torch.dtype], nn.Module]
    inputs: tuple[str, ...]
    channels: int | None = None


NETWORKS: Mapping[str, Network] = {
    "dit": Network(load=Dit, inputs=("latents", "timestep", "class_id"), channels=4),
    "unet": Network(load=Unet, inputs=("latents", "timestep", "states")),
    "vae": Network(load=VaeDecoder, inputs=("latents",)),
    "backbone": Network(load=Backbone, inputs=("pixels",)),
}


def load_network(kind: str, source: Path, dtype: torch.dtype) -> nn.Module:
    """The network of `kind` from its source, in inference mode."""
    make_torchvision_importable()
    return NETWORKS[kind].load(source, dtype).requires_grad_(False)


def make_torchvision_importable() -> None:
    """Declare two operators, without which a CUDA torchvision beside a CPU torch cannot be imported.

    timm imports it always; transformers, and through it diffusers, where it is installed.
    """
    for operator in ("nms", "qnms"):
        with suppress(RuntimeError):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )


def tensors(kind: str, feeds: Mapping[str, NDArray[Any]], dtype: torch.dtype) -> list[Tensor]:
    """The feeds in the order of `forward`, floats in `dtype`."""
    ordered = [torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in NETWORKS[kind].inputs]
    return [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in ordered]
