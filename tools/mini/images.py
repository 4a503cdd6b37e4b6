"""Read the split images as arrays, and move them a little for training.

Every array of images here has shape (count, 3, height, width), float32 in [-1, 1], RGB.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tools.mini.split import photos
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LabeledImages:
    """Images with their class ids, in photo order.

    Args:
        images: Shape (count, 3, height, width), float32 in [-1, 1].
        labels: Shape (count,), int64.
    """

    images: Tensor
    labels: Tensor


def read_split(path: Path) -> LabeledImages:
    """All images of one split, a folder that `tools.mini.split` wrote."""
    files = photos(path)
    decoded = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    pixels = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).float()
    return LabeledImages(images=pixels / 127.5 - 1, labels=torch.tensor([int(file.parent.name) for file in files]))


def to_uint8(images: Tensor) -> np.ndarray:
    """Images in [-1, 1] as bytes, shape (count, height, width, 3)."""
    pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Every image shifted, scaled, turned and relit a little, each by its own amount.

    Shifts of up to 4 % of the side, scales of up to 6 %, turns of up to 4 degrees, contrast within
    8 % and brightness within 5 % of the range. Never mirrored: a mirrored hand is the other hand.
    """
    count = len(images)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    scale, angle = 1 + uniform(0.06), torch.deg2rad(uniform(4.0))
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    # grid_sample's coordinates span 2 over the side, so a shift of 4 % of the side is 0.08.
    theta = torch.stack([torch.stack([cos, -sin, uniform(0.08)], 1), torch.stack([sin, cos, uniform(0.08)], 1)], 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    warped = F.grid_sample(images, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    contrast, brightness = 1 + uniform(0.08), uniform(0.1)
    return (warped * contrast[:, None, None, None] + brightness[:, None, None, None]).clamp(-1, 1)
