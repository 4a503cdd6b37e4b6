"""What can be measured of a photo of a hand: its light, its sharpness, and the hand's size and side.

The wall behind the hand is gray and the hand is not: a pixel belongs to the hand where red exceeds blue by clearly
more than it does along the picture's border.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BORDER = 3
BORDER_ROWS = 20
HAND_REDNESS = 0.1


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Below the first figure an attribute is called low, from the second on high; between them it is not named.

    The defaults are the quartiles of the 1,649 training photos.

    Args:
        light: Mean of all pixels, 0 black to 1 white.
        sharpness: Standard deviation of the Laplacian of the gray picture.
        size: Share of the pixels that belong to the hand.
        side: Horizontal center of the hand, -1 the left edge to 1 the right edge.
    """

    light: tuple[float, float] = (0.629, 0.670)
    sharpness: tuple[float, float] = (0.157, 0.189)
    size: tuple[float, float] = (0.219, 0.286)
    side: tuple[float, float] = (-0.069, 0.031)


NAMES = ("light", "sharpness", "size", "side")


def measure(images: Tensor) -> dict[str, Tensor]:
    """Every attribute of every image.

    Args:
        images: Shape (count, 3, height, width), in [-1, 1], RGB.

    Returns:
        By name, one figure an image, shape (count,); see `Bounds` for what they mean.
    """
    pixels = (images + 1) / 2
    gray = pixels.mean(1)
    hand = hand_mask(pixels).float()
    area = hand.sum((1, 2)).clamp(min=1)
    across = torch.linspace(-1, 1, images.shape[3])
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    return {
        "light": gray.mean((1, 2)),
        "sharpness": F.conv2d(gray[:, None], kernel[None, None]).flatten(1).std(1),
        "size": hand.mean((1, 2)),
        "side": (hand * across).sum((1, 2)) / area,
    }


def hand_mask(pixels: Tensor) -> Tensor:
    """Which pixels belong to the hand, shape (count, height, width), of images in [0, 1]."""
    redness = pixels[:, 0] - pixels[:, 2]
    # The arm enters from below, so of the two sides only the upper rows are wall for sure.
    sides = torch.cat([redness[:, :BORDER_ROWS, :BORDER], redness[:, :BORDER_ROWS, -BORDER:]], 2).flatten(1)
    wall = torch.cat([sides, redness[:, :BORDER].flatten(1)], 1).median(1).values
    return redness - wall[:, None, None] > HAND_REDNESS


def levels(images: Tensor, bounds: Bounds) -> dict[str, Tensor]:
    """Every attribute as -1 for low, 1 for high, 0 between, shape (count,)."""
    found = {}
    for name, values in measure(images).items():
        low, high = getattr(bounds, name)
        found[name] = (values >= high).int() - (values < low).int()
    return found
