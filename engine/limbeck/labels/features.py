"""A backbone's features of labeled images: of the images as they are, or of views of them, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from limbeck.arrays import Features, Images
from limbeck.backbone import PackBackbone
from limbeck.labels.pixels import Pixels
from limbeck.labels.views import Views, resized, view


def features_of(backbone: PackBackbone, images: Images) -> Features:
    """One row an image; `images` are square, in [0, 1], of any size."""
    return backbone.features(resized(images, backbone.image_size))


def features_of_all(
    backbone: PackBackbone,
    pixels: Pixels,
    *,
    views: Views | None = None,
    batch: int = 64,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Features:
    """One row for each of `pixels`, in their order.

    Args:
        backbone: What sees them.
        pixels: The images.
        views: One of each image; None shows the images as they are.
        batch: Images that are held as numbers at a time.
        on_images: Called with the images done and their total.
    """
    parts, total = [], len(pixels.labels)
    for start in range(0, total, batch):
        rows = slice(start, start + batch)
        images = pixels.floats(rows)
        if views is not None:
            images = view(images, views[rows], out=backbone.image_size)
        parts.append(features_of(backbone, images))
        on_images(min(start + batch, total), total)
    return np.concatenate(parts)
