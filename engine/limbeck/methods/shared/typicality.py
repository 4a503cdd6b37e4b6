"""Typicality: where in an image a label helps a diffusion model to predict the noise.

Siglidis et al., "Diffusion Models as Data Mining Tools", ECCV 2024.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator

import numpy as np

from limbeck.arrays import Array, Latents, Times
from limbeck.data.base import Fit, ImageSource
from limbeck.diffusion.base import Condition, Denoiser
from limbeck.methods.base import Progress
from limbeck.methods.shared.encoding import image_latents
from limbeck.methods.shared.generation import refuse_not_finite
from limbeck.methods.shared.noised_means import Draws, noised_means
from limbeck.methods.shared.windows import Window, best_windows
from limbeck.models import Models


def loss_differences(
    denoiser: Denoiser, noised: Latents, times: Times, noise: Latents, condition: Condition, other: Condition
) -> Array:
    """How much better the noise is predicted with `condition` than with `other`, at each place.

    Siglidis et al. 2024, equation 3: the squared errors of both, averaged over channels, subtracted. Both predictions
    are of the same noised latents, because the differences are small beside the spread over noises.

    Returns:
        Shape (batch, height, width).
    """
    predicted = denoiser(np.concatenate([noised, noised]), np.concatenate([times, times]), condition.join(other))
    errors = np.square(predicted - np.concatenate([noise, noise])).mean(axis=1)
    difference: Array = errors[len(noised) :] - errors[: len(noised)]
    return difference


def typical_windows(
    class_id: int,
    source: ImageSource,
    models: Models,
    *,
    fit: Fit,
    num_draws: int,
    draws: Draws,
    side: float,
    per_image: int,
    per_class: int,
) -> Generator[Progress, None, list[Window]]:
    """The windows of a class where its label helps most, the best first.

    Args:
        class_id: The class.
        source: Its images.
        models: The networks.
        fit: How images become square.
        num_draws, draws: As `noised_means`; over them the differences are averaged.
        side: Height and width of a window as a fraction of the image's.
        per_image: At most so many of an image; they do not overlap.
        per_class: At most so many of the class.

    Raises:
        EngineError: A difference is not finite.
    """
    name = source.class_names[class_id]
    count = len(source.names(class_id))
    best: list[Window] = []
    scored = 0
    for made in noised_means(
        image_latents(class_id, source, models, fit=fit, stage=f"encode {name}"),
        num_draws=num_draws,
        draws=draws,
        ask=lambda noised, times, noise: loss_differences(
            models.denoiser,
            noised,
            times,
            noise,
            models.conditioning.of_classes([name] * len(times)),
            models.conditioning.null(len(times)),
        ),
        schedule=models.schedule,
        bucket=models.bucket,
    ):
        if isinstance(made, Progress):
            yield made
            continue
        for image, scores in made:
            refuse_not_finite(scores)
            best += best_windows(scores, image=image, size=models.image_size, side=side, count=per_image)
        best = heapq.nlargest(per_class, best, key=lambda window: window.score)
        scored += len(made)
        yield Progress(f"score {name}", scored, count)
    return best
