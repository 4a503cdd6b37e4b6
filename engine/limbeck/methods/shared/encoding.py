"""The latents of a class: what the methods that start from real images have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from limbeck.arrays import Array, Latents
from limbeck.data.base import Fit, ImageSource
from limbeck.methods.base import Progress
from limbeck.models import Models
from limbeck.randomness import generator


def encoded(
    class_id: int,
    source: ImageSource,
    models: Models,
    *,
    fit: Fit,
    batch: int | None = None,
    posterior_seed: int | None = None,
    tiles: int = 1,
) -> Iterator[Latents]:
    """Batches of latents of the class's images, in the source's order.

    Args:
        class_id: The class.
        source: Its images.
        models: The codec and its sizes.
        fit: How images become square.
        batch: Images at a time; None is what the codec takes in one call.
        posterior_seed: Draw each latent from the codec's posterior, by this seed, class and position; None takes the
            posterior's mean.
        tiles: Latents of the tiles of mosaics of so many a side, those of one image one after another, each encoded at
            the full size.
    """
    name = source.class_names[class_id]
    index = 0
    batch = batch or models.images_at_a_time
    for images in source.images(class_id, size=models.image_size, fit=fit, batch=batch, tiles=tiles):
        if posterior_seed is None:
            yield models.codec.encode(images)
        else:
            mean, std = models.codec.posterior(images)
            noise = [
                generator(posterior_seed, name, index + i, "posterior").standard_normal(mean.shape[1:], np.float32)
                for i in range(len(images))
            ]
            yield mean + std * np.stack(noise)
        index += len(images)


def image_latents(
    class_id: int, source: ImageSource, models: Models, *, fit: Fit, stage: str, images: Collection[int] | None = None
) -> Iterator[tuple[int, Array] | Progress]:
    """Image and latent, of all or of some images of a class; progress comes under `stage`.

    Args:
        class_id: The class.
        source: Its images.
        models: The codec and its sizes.
        fit: How images become square.
        stage: What the events call it.
        images: Positions of those that are encoded; None is all.
    """
    count = len(source.names(class_id))
    start = 0
    for read in source.images(class_id, size=models.image_size, fit=fit, batch=models.images_at_a_time):
        wanted = [place for place in range(len(read)) if images is None or start + place in images]
        if wanted:
            latents = models.codec.encode(read if len(wanted) == len(read) else read[wanted])
            yield from ((start + place, latent) for place, latent in zip(wanted, latents, strict=True))
        start += len(read)
        yield Progress(stage, start, count)
