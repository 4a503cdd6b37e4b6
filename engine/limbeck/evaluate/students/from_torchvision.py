"""Students that torchvision has, with new weights."""

from __future__ import annotations

from torch import nn

from limbeck.errors import ConfigError
from limbeck.export.torchvision_operators import declare_operators

SMALLEST = {"alexnet": 63, "vgg-11": 32}
"""Height and width of the smallest images, where a network would otherwise fail among its own layers."""


def build(name: str, *, num_classes: int, image_size: int) -> nn.Module:
    """The network of that name: ShuffleNetV2 has width 1.0, VGG-11 no norm; the rest have one variant.

    Raises:
        ConfigError: torchvision is not installed, or the images are too small, or no multiple of 16 for ViT-B/16.
    """
    if name == "vit-b-16" and image_size % 16:
        raise ConfigError(f"vit-b-16 cuts images in patches of 16 px, which {image_size} px are no multiple of")
    if image_size < SMALLEST.get(name, 1):
        raise ConfigError(f"{name} needs images of {SMALLEST[name]} px, these have {image_size}")
    declare_operators()
    try:
        from torchvision import models
    except ImportError as error:
        raise ConfigError(f"student '{name}' needs the package torchvision: pip install 'limbeck[students]'") from error
    if name == "vit-b-16":
        network: nn.Module = models.vit_b_16(num_classes=num_classes, image_size=image_size)
    else:
        make = {
            "resnet-50": models.resnet50,
            "resnet-101": models.resnet101,
            "vgg-11": models.vgg11,
            "alexnet": models.alexnet,
            "shufflenet-v2": models.shufflenet_v2_x1_0,
            "mobilenet-v2": models.mobilenet_v2,
            "efficientnet-b0": models.efficientnet_b0,
            "swin-v2-t": models.swin_v2_t,
        }[name]
        network = make(num_classes=num_classes)
    return network
