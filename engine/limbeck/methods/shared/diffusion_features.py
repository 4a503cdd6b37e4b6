"""Diffusion features: what a denoiser computes of a noised image, inside.

Tang et al., "Emergent Correspondence from Image Diffusion", NeurIPS 2023 (DIFT).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

from limbeck.arrays import Array
from limbeck.data.base import Fit, ImageSource
from limbeck.methods.base import Progress
from limbeck.methods.shared.encoding import image_latents
from limbeck.methods.shared.noised_means import Draws, noised_means
from limbeck.methods.shared.windows import Window
from limbeck.models import Models


def diffusion_features(
    windows: Sequence[Window],
    class_id: int,
    source: ImageSource,
    models: Models,
    *,
    fit: Fit,
    num_draws: int,
    draws: Draws,
) -> Generator[Progress, None, Array]:
    """The mean features of each window of a class, of length 1, shape (windows, channels).

    Args:
        windows: Where; only images that have one are encoded.
        class_id: The class.
        source: Its images.
        models: The networks.
        fit: How images become square.
        num_draws, draws: As `noised_means`; over them the features are averaged.
    """
    name = source.class_names[class_id]
    places: dict[int, list[int]] = {}
    for place, window in enumerate(windows):
        places.setdefault(window.image, []).append(place)
    features = np.empty((len(windows), models.features.shape[0]), np.float32)
    done = 0
    for made in noised_means(
        image_latents(class_id, source, models, fit=fit, stage=f"encode {name} again", images=places),
        num_draws=num_draws,
        draws=draws,
        ask=lambda noised, times, noise: models.features.maps(
            noised, times, models.conditioning.of_classes([name] * len(times))
        ),
        schedule=models.schedule,
        bucket=models.bucket,
    ):
        if isinstance(made, Progress):
            yield made
            continue
        for image, maps in made:
            for place in places[image]:
                mean = window_features(maps, windows[place])
                features[place] = mean / (np.linalg.norm(mean) or 1)
        done += len(made)
        yield Progress(f"features of {name}", done, len(places))
    return features


def window_features(maps: Array, window: Window) -> Array:
    """The mean of maps, shape (channels, height, width), over a window; cells that it cuts count in part."""
    rows = _overlap(window.top, window.side, maps.shape[1])
    columns = _overlap(window.left, window.side, maps.shape[2])
    means: Array = np.einsum("chw,h,w->c", maps, rows, columns)
    return means


def _overlap(start: float, length: float, cells: int) -> Array:
    """The part of a stretch that lies in each of so many equal cells of 0..1; they add up to 1."""
    edges = np.arange(cells + 1) / cells
    inside = np.minimum(edges[1:], start + length) - np.maximum(edges[:-1], start)
    parts = np.maximum(inside, 0)
    share: Array = parts / parts.sum()
    return share
