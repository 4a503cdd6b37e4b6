"""EfficientNet-Lite0 without its classifier: 4 M weights, a 1280-d feature of a 224-pixel image.

The network of Tan & Le (EfficientNet, ICML 2019, table 1) in its Lite variant: no squeeze-and-excitation, ReLU6
for swish, stem and head of fixed width. Attributes are named as in lukemelas' EfficientNet-PyTorch, whose
checkpoints therefore load without a table of names.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.export.weights import fold_batch_norms, load_weights

IMAGE_SIZE = 224
FEATURES = 1280
MEAN = 127 / 255
STD = 128 / 255
"""Input is `(255 x - 127) / 128` on pixels `x` in [0, 1], alike for the three colors."""


class Stage(NamedTuple):
    """One row of the paper's table 1: blocks of one width."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "SAME": the odd pixel goes right and below.

    With stride 2 the input must have an even height and width, as every one does in a network fed 224 pixels.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
        total = kernel - stride
        before, after = total // 2, total - total // 2
        self._same = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        """Pad, then convolve; (batch, inputs, h, w) to (batch, outputs, h / stride, w / stride)."""
        return super().forward(F.pad(x, self._same) if any(self._same) else x)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to its input where shapes agree (MobileNetV2, section 3.3)."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        hidden = inputs * stage.expansion
        self.expands = stage.expansion > 1
        self.adds = stride == 1 and inputs == stage.channels
        if self.expands:
            self._expand_conv = SameConv(inputs, hidden, 1)
            self._bn0 = _batch_norm(hidden)
        self._depthwise_conv = SameConv(hidden, hidden, stage.kernel, stride=stride, groups=hidden)
        self._bn1 = _batch_norm(hidden)
        self._project_conv = SameConv(hidden, stage.channels, 1)
        self._bn2 = _batch_norm(stage.channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, h, w) to (batch, channels, h / stride, w / stride)."""
        hidden = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        hidden = F.relu6(self._bn1(self._depthwise_conv(hidden)))
        y: Tensor = self._bn2(self._project_conv(hidden))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The feature network; input (batch, 3, 224, 224), normalized with `MEAN` and `STD`, output (batch, 1280)."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, stride=2)
        self._bn0 = _batch_norm(32)
        blocks: list[InvertedResidual] = []
        channels = 32
        for stage in _STAGES:
            for index in range(stage.repeats):
                blocks.append(InvertedResidual(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(channels, FEATURES, 1)
        self._bn1 = _batch_norm(FEATURES)

    @classmethod
    def from_file(cls, path: str | Path) -> EfficientNetLite0:
        """The network with the weights of a safetensors file, in float32, its norms folded, ready to evaluate.

        The file's classifier (`_fc`) is left out; multiply the features by its weight for the logits.

        Raises:
            ExportError: The file is missing, or is not an EfficientNet-Lite0 in lukemelas' names.
        """
        return fold_batch_norms(load_weights(cls(), path, ignored=("_fc.",)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Features, the mean of the last layer over the image."""
        x = F.relu6(self._bn0(self._conv_stem(pixels)))
        for block in self._blocks:
            x = block(x)
        return torch.mean(F.relu6(self._bn1(self._conv_head(x))), dim=(2, 3))


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    # The checkpoint was trained in TensorFlow, whose default epsilon is 1e-3.
    return nn.BatchNorm2d(channels, eps=1e-3)
