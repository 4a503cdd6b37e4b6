"""Residual networks of basic blocks with either norm, and ResNetAP, which pools where they stride.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1. ResNetAP-10 is dataset distillation's own
(Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022): one block a stage, and
average pooling wherever the other strides or pools. With batch norm and the large stem, depth 18 is torchvision's
network, weight for weight. Convolutions begin as He et al. draw them, by what they give (ICCV 2015, equation 14).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.functional import relu

from limbeck.errors import ConfigError
from limbeck.evaluate.students import Norm, Stem
from limbeck.evaluate.students.norms import make_norm

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2)}

SMALLEST: Mapping[Stem, int] = {"small": 16, "middle": 32, "large": 64}
"""Height and width of the smallest images by stem: the last stage sees 2 x 2 places of them."""


class ResNet(nn.Module):
    """Four stages of basic blocks, each but the first half the size and twice the channels of the one before.

    Args:
        depth: A key of `BLOCKS`.
        width: Channels of the first stage.
        norm: Of what the mean and variance are taken.
        num_classes: Outputs.
        image_size: Height and width of the images; the weights do not depend on it.
        average: Halve by average pooling instead of strides and maxima.
        stem: What comes before the blocks. small: a 3 x 3 convolution; middle: that, and half the size; large: a
            7 x 7 convolution, and a quarter of the size.

    Raises:
        ConfigError: The last stage would see less than 2 x 2 places, of which no instance norm can be taken.
    """

    def __init__(
        self,
        *,
        depth: int,
        width: int,
        norm: Norm,
        num_classes: int,
        image_size: int,
        average: bool,
        stem: Stem,
    ) -> None:
        super().__init__()
        if image_size < SMALLEST[stem]:
            raise ConfigError(
                f"a ResNet with a {stem} stem needs images of {SMALLEST[stem]} px, these have {image_size}"
            )
        self.stem = nn.Sequential(*_stem(width, norm=norm, average=average, stem=stem))
        blocks: list[nn.Module] = []
        channels = width
        for stage, count in enumerate(BLOCKS[depth]):
            for number in range(count):
                halve = stage > 0 and number == 0
                blocks.append(_Block(channels, width << stage, norm=norm, halve=halve, average=average))
                channels = width << stage
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (n, classes)."""
        logits: Tensor = self.classifier(self.blocks(self.stem(images)).mean(dim=(2, 3)))
        return logits


def _stem(width: int, *, norm: Norm, average: bool, stem: Stem) -> list[nn.Module]:
    large = stem == "large"
    stride = 2 if large and not average else 1
    convolution = nn.Conv2d(3, width, 7 if large else 3, stride=stride, padding=3 if large else 1, bias=False)
    layers = [convolution, make_norm(norm, width), nn.ReLU()]
    if stem == "small":
        return layers
    pool = nn.AvgPool2d(4 if large else 2) if average else nn.MaxPool2d(3, stride=2, padding=1)
    return [*layers, pool]


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; with `halve`, half the size."""

    def __init__(self, inputs: int, outputs: int, *, norm: Norm, halve: bool, average: bool) -> None:
        super().__init__()
        stride = 2 if halve and not average else 1
        pool = [nn.AvgPool2d(2)] if halve and average else []
        self.convolutions = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            make_norm(norm, outputs),
            nn.ReLU(),
            *pool,
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            make_norm(norm, outputs),
        )
        self.shortcut = nn.Sequential()
        if inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), *pool, make_norm(norm, outputs)
            )

    def forward(self, images: Tensor) -> Tensor:
        return relu(self.convolutions(images) + self.shortcut(images))
