"""Student networks by name: what a distilled set is trained on to say what it is worth.

torch is imported when a student is built, not before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from limbeck.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

Norm = Literal["instance", "batch"]
Stem = Literal["small", "middle", "large"]

CONVNETS = ("convnet-3", "convnet-4", "convnet-5", "convnet-6")
RESNETS = ("resnet-ap-10", "resnet-10", "resnet-18")
FROM_TORCHVISION = (
    "resnet-50",
    "resnet-101",
    "vgg-11",
    "alexnet",
    "shufflenet-v2",
    "mobilenet-v2",
    "efficientnet-b0",
    "vit-b-16",
    "swin-v2-t",
)
STUDENTS = (*CONVNETS, *RESNETS, *FROM_TORCHVISION)


@dataclass(frozen=True, kw_only=True)
class Student:
    """Which network is trained.

    Args:
        name: One of `STUDENTS`.
        norm: Of ConvNets and ResNets: instance, as the published hard-label protocol has it, or batch. Those of
            torchvision keep their own.
        width: Channels of a ConvNet's blocks, or of a ResNet's first stage; None is the published 128 and 64.
        stem: Of ResNets: how much smaller the images are made before the first block; small not at all, middle by 2,
            large by 4. None is the published one: small up to 64 px, middle up to 128 px.
    """

    name: str
    norm: Norm = "instance"
    width: int | None = None
    stem: Stem | None = None

    def __post_init__(self) -> None:
        """Refuse what no network is made of."""
        if self.name not in STUDENTS:
            raise ConfigError(f"unknown student '{self.name}'; there is {', '.join(STUDENTS)}")
        if self.norm not in ("instance", "batch"):
            raise ConfigError(f"norm must be instance or batch, got '{self.norm}'")
        if self.width is not None and (self.width < 1 or self.name in FROM_TORCHVISION):
            raise ConfigError(f"width={self.width} does not fit student '{self.name}'; leave it out")

    @classmethod
    def parse(cls, name: str) -> Student:
        """A student from its name with or without hyphens and case: `ResNet18`, `convnet-3`."""
        plain = {_plain(known): known for known in STUDENTS}
        return cls(name=plain.get(_plain(name), name))

    @property
    def norm_used(self) -> str:
        """The norm of the network that is built: `norm`, or "own" for those of torchvision."""
        return "own" if self.name in FROM_TORCHVISION else self.norm

    def with_norm(self, norm: Norm) -> Student:
        """The same network with another norm; those of torchvision as they are."""
        return self if self.name in FROM_TORCHVISION else replace(self, norm=norm)

    def build(self, *, num_classes: int, image_size: int) -> nn.Module:
        """The network with new weights from torch's generator; it takes normalized images of `image_size`.

        Raises:
            ConfigError: A package is missing, or the images are too small for the network.
        """
        require_torch()
        if self.name in CONVNETS:
            from limbeck.evaluate.students.convnet import ConvNet

            depth = int(self.name.rpartition("-")[2])
            return ConvNet(
                depth=depth, width=self.width or 128, norm=self.norm, num_classes=num_classes, image_size=image_size
            )
        if self.name in RESNETS:
            from limbeck.evaluate.students.resnet import ResNet

            return ResNet(
                depth=int(self.name.rpartition("-")[2]),
                width=self.width or 64,
                norm=self.norm,
                num_classes=num_classes,
                image_size=image_size,
                average="ap" in self.name,
                stem=self.stem or _published_stem(image_size),
            )
        from limbeck.evaluate.students.from_torchvision import build

        return build(self.name, num_classes=num_classes, image_size=image_size)


def _published_stem(image_size: int) -> Stem:
    if image_size <= 64:
        return "small"
    return "middle" if image_size <= 128 else "large"


def require_torch() -> None:
    """Refuse to go on without torch.

    Raises:
        ConfigError: It is not installed.
    """
    if find_spec("torch") is None:
        raise ConfigError("training a student needs the package torch: pip install 'limbeck[evaluate]'")


def _plain(name: str) -> str:
    return re.sub("[-_ ]", "", name.lower())
