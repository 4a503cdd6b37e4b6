"""Students that torchvision has, with new weights."""

from __future__ import annotations

from torch import nn

from limbeck.errors import ConfigError
from limbeck.export.torchvision_operators import declare_operators


def build(name: str, *, num_classes: int, image_size: int) -> nn.Module:
    """ShuffleNetV2 1.0x, MobileNetV2, EfficientNet-B0 or ViT-B/16.

    Raises:
        ConfigError: torchvision is not installed, or ViT-B/16 is asked for a size that is no multiple of 16.
    """
    if name == "vit-b-16" and image_size % 16:
        raise ConfigError(f"vit-b-16 cuts images in patches of 16 px, which {image_size} px are no multiple of")
    declare_operators()
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
