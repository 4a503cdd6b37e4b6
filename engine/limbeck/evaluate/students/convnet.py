"""The ConvNet of dataset distillation: blocks of convolution, norm, ReLU and average pooling, then one linear layer.

Gidaris and Komodakis, "Dynamic Few-Shot Visual Learning without Forgetting", CVPR 2018, as Zhao et al., "Dataset
Condensation with Gradient Matching", ICLR 2021, section 4, use it: width 128, instance norm, depth 3 at 32 px and one
more for each doubling.
"""

from __future__ import annotations

from torch import Tensor, nn

from limbeck.errors import ConfigError
from limbeck.evaluate.students import Norm
from limbeck.evaluate.students.norms import make_norm


class ConvNet(nn.Module):
    """`depth` blocks of a 3 x 3 convolution, each of which halves the image.

    Args:
        depth: Blocks.
        width: Channels of each.
        norm: Of what the mean and variance are taken.
        num_classes: Outputs.
        image_size: Height and width of the images, which decide the size of the linear layer.

    Raises:
        ConfigError: The images vanish before the last block.
    """

    def __init__(self, *, depth: int, width: int, norm: Norm, num_classes: int, image_size: int) -> None:
        super().__init__()
        side = image_size >> depth
        if side < 1:
            raise ConfigError(f"a ConvNet of {depth} blocks halves {image_size} px to nothing; take a shallower one")
        layers: list[nn.Module] = []
        channels = 3
        for _ in range(depth):
            layers += [
                nn.Conv2d(channels, width, 3, padding=1),
                make_norm(norm, width),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
            channels = width
        self.blocks = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * side**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (n, classes)."""
        logits: Tensor = self.classifier(self.blocks(images).flatten(1))
        return logits
