"""Makes stored soft labels: shows a teacher every image under every augmentation that a student will see."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from limbeck.labels.cutmix import draw_mix
from limbeck.labels.pixels import Pixels
from limbeck.labels.stored import StoredLabels
from limbeck.labels.teacher import Teacher
from limbeck.labels.views import draw_views, view
from limbeck.randomness import generator


def relabel(
    pixels: Pixels,
    teacher: Teacher,
    *,
    epochs: int,
    batch_size: int,
    crop_scale: tuple[float, float],
    cutmix_beta: float,
    seed: int,
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
) -> StoredLabels:
    """The teacher's logits of the augmented images of each epoch.

    Args:
        pixels: The distilled set.
        teacher: Who labels.
        epochs: For how many epochs; a student that trains longer sees them again.
        batch_size: Images that are mixed with each other.
        crop_scale: The smallest and the largest share of the area that a crop has.
        cutmix_beta: Of CutMix.
        seed: Fixes order, crops, flips and boxes; an epoch's do not depend on how many epochs there are.
        on_epoch: Called with the epochs done and the total after each one.
    """
    count, batches = len(pixels.labels), math.ceil(len(pixels.labels) / batch_size)
    order = np.empty((epochs, count), np.int32)
    boxes, flips = np.empty((epochs, count, 4), np.int16), np.empty((epochs, count), np.bool_)
    partners, mix_boxes = np.empty((epochs, count), np.int32), np.empty((epochs, batches, 4), np.int16)
    logits = np.empty((epochs, count, len(pixels.class_names)), np.float16)
    for epoch in range(epochs):
        order[epoch] = generator(seed, "", epoch, "order").permutation(count)
        views = draw_views(generator(seed, "", epoch, "views"), count, size=pixels.size, scale=crop_scale)
        boxes[epoch], flips[epoch] = views.boxes, views.flips
        for number in range(batches):
            part = slice(number * batch_size, (number + 1) * batch_size)
            rows = order[epoch, part]
            mix = draw_mix(
                generator(seed, f"batch {number}", epoch, "cutmix"), len(rows), size=pixels.size, beta=cutmix_beta
            )
            shown = mix.images(view(pixels.floats(rows), views[part]))
            partners[epoch, part], mix_boxes[epoch, number] = mix.partners, mix.box
            logits[epoch, part] = teacher.logits(shown)
        on_epoch(epoch + 1, epochs)
    return StoredLabels(
        order=order,
        boxes=boxes,
        flips=flips,
        partners=partners,
        mix_boxes=mix_boxes,
        logits=logits,
        batch_size=batch_size,
        image_size=pixels.size,
        seed=seed,
        teacher=teacher.key,
        images_digest=pixels.digest(),
    )
