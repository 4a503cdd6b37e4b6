"""The backbone's features of a class."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from limbeck.arrays import Features
from limbeck.data.base import Fit, ImageSource
from limbeck.errors import EngineError
from limbeck.methods.base import Progress
from limbeck.models import Models


def class_features(
    class_id: int, source: ImageSource, models: Models, *, fit: Fit
) -> Generator[Progress, None, Features]:
    """The features of every image of a class, in the source's order, shape (images, dimensions).

    Args:
        class_id: The class.
        source: Its images.
        models: The backbone and its bucket.
        fit: How images become square.

    Raises:
        EngineError: They are not finite.
    """
    count = len(source.names(class_id))
    features = np.empty((count, models.backbone.num_features), np.float32)
    done = 0
    for images in source.images(class_id, size=models.backbone.image_size, fit=fit, batch=models.bucket):
        found = models.backbone.features(images)
        if not np.isfinite(found).all():
            raise EngineError("the backbone gave values that are not finite; check the pack with `limbeck doctor`")
        features[done : done + len(images)] = found
        done += len(images)
        yield Progress(f"features of {source.class_names[class_id]}", done, count)
    return features
