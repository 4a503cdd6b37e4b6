"""Residual networks of basic blocks with either norm, and ResNetAP, which pools where they stride.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1. ResNetAP-10 is dataset distillation's own
(Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022): one block a stage, and
every stride of 2 after the stem is an average pooling of 2 instead. With batch norm, depth 18 is torchvision's network,
weight for weight.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

from limbeck.errors import ConfigError
from limbeck.evaluate.students import Norm
from limbeck.evaluate.students.norms import make_norm

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2)}


class ResNet(nn.Module):
    """Four stages of basic blocks, each but the first half the size and twice the channels of the one before.

    Args:
        depth: A key of `BLOCKS`.
        width: Channels of the first stage.
        norm: Of what the mean and variance are taken.
        num_classes: Outputs.
        image_size: Height and width of the images; the weights do not depend on it.
        average: Halve by average pooling instead of strides.
        small_stem: A 3 x 3 convolution at full resolution, for images of about 32 px.

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
        small_stem: bool,
    ) -> None:
        super().__init__()
        smallest = 16 if small_stem else 64
        if image_size < smallest:
            raise ConfigError(
                f"a ResNet with {'a small' if small_stem else 'the usual'} stem needs images of {smallest} px, "
                f"these have {image_size}"
            )
        if small_stem:
            stem: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False), make_norm(norm, width), nn.ReLU()]
        else:
            stem = [
                nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
                make_norm(norm, width),
                nn.ReLU(),
                nn.MaxPool2d(3, stride=2, padding=1),
            ]
        self.stem = nn.Sequential(*stem)
        blocks: list[nn.Module] = []
        channels = width
        for stage, count in enumerate(BLOCKS[depth]):
            for number in range(count):
                halve = stage > 0 and number == 0
                blocks.append(_Block(channels, width << stage, norm=norm, halve=halve, average=average))
                channels = width << stage
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (n, classes)."""
        logits: Tensor = self.classifier(self.blocks(self.stem(images)).mean(dim=(2, 3)))
        return logits


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
