"""Students that torchvision has, with new weights."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import nn

from limbeck.errors import ConfigError


def build(name: str, *, num_classes: int, image_size: int) -> nn.Module:
    """ShuffleNetV2 1.0x, MobileNetV2, EfficientNet-B0 or ViT-B/16.

    Raises:
        ConfigError: torchvision is not installed, or ViT-B/16 is asked for a size that is no multiple of 16.
    """
    if name == "vit-b-16" and image_size % 16:
        raise ConfigError(f"vit-b-16 cuts images in patches of 16 px, which {image_size} px are no multiple of")
    # torchvision's wheels for PyPI expect CUDA's torch: beside a CPU torch its import fails unless these are declared.
    for operator in ("nms", "qnms"):
        with suppress(RuntimeError):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
    try:
        from torchvision import models
    except ImportError as error:
        raise ConfigError(f"student '{name}' needs the package torchvision: pip install 'limbeck[students]'") from error
    if name == "vit-b-16":
        network: nn.Module = models.vit_b_16(num_classes=num_classes, image_size=image_size)
    else:
        make = {
            "shufflenet-v2": models.shufflenet_v2_x1_0,
            "mobilenet-v2": models.mobilenet_v2,
            "efficientnet-b0": models.efficientnet_b0,
        }[name]
        network = make(num_classes=num_classes)
    return network
