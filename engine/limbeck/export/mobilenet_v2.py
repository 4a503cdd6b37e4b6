"""MobileNetV2 without its classifier: 2.2 M weights, a 1280-d feature of a 224-pixel image.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2, at width 1. Layers
are numbered as in tonylins' pytorch-mobilenet-v2, whose checkpoints therefore load as they are.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from limbeck.export.weights import fold_batch_norms, load_weights

IMAGE_SIZE = 224
FEATURES = 1280

# Expansion, channels, repeats, stride: table 2.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class Bottleneck(nn.Module):
    """Expand, filter each channel, project; added to its input where the shapes agree (section 3.3)."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = _conv(inputs, hidden, kernel=1) if expansion > 1 else []
        filtered = _conv(hidden, hidden, kernel=3, stride=stride, groups=hidden)
        self.conv = nn.Sequential(*expand, *filtered, *_conv(hidden, outputs, kernel=1)[:2])
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, h, w) to (batch, outputs, h / stride, w / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """The feature network; input (batch, 3, 224, 224), normalized as ImageNet's, output (batch, 1280)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(*_conv(3, 32, kernel=3, stride=2))]
        channels = 32
        for expansion, outputs, repeats, stride in _STAGES:
            for index in range(repeats):
                layers.append(Bottleneck(channels, outputs, expansion=expansion, stride=1 if index else stride))
                channels = outputs
        layers.append(nn.Sequential(*_conv(channels, FEATURES, kernel=1)))
        self.features = nn.Sequential(*layers)

    @classmethod
    def from_file(cls, path: str | Path) -> MobileNetV2:
        """The network with the weights of a safetensors file, in float32, its norms folded, ready to evaluate.

        Raises:
            ExportError: The file is missing, or is not a MobileNetV2 in tonylins' names.
        """
        return fold_batch_norms(load_weights(cls(), path, ignored=("classifier.",)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Features, the mean of the last layer over the image."""
        return torch.mean(self.features(pixels), dim=(2, 3))


def _conv(inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU6()]
