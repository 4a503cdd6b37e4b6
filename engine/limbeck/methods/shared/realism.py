"""Realism: how surely a teacher knows the class of what it is shown.

Sun et al., "On the Diversity and Realism of Distilled Dataset", CVPR 2024 (RDED), equation 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from limbeck.arrays import Array, ClassIds, Features
from limbeck.linear_head import LinearHead, fit_head
from limbeck.methods.shared.windows import Window
from limbeck.models import Models


def fitted_teacher(features: Features, labels: ClassIds) -> LinearHead:
    """A logistic regression on features, fitted on one thread, so that it is the same in every run."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return fit_head(features, labels)


def judged(crops: Sequence[tuple[Window, Array]], class_id: int, models: Models, teacher: LinearHead) -> list[Window]:
    """The crops with their scores: minus the teacher's cross-entropy with their class, 0 the best.

    Args:
        crops: Each with its image as the backbone reads it, shape (3, size, size).
        class_id: Their class.
        models: Have the backbone.
        teacher: On its features.
    """
    features: Features = models.backbone.features(np.stack([image for _, image in crops]))
    logits = teacher.logits(features).astype(np.float64)
    scores = logits[:, class_id] - np.logaddexp.reduce(logits, axis=1)
    return [replace(crop, score=float(score)) for (crop, _), score in zip(crops, scores, strict=True)]


def best_crops(crops: Sequence[Window], count: int) -> list[Window]:
    """The `count` best: first the best crop of every image, the highest score first, then the second best of each, …"""
    by_image: dict[int, list[Window]] = {}
    for crop in sorted(crops, key=lambda crop: -crop.score):
        by_image.setdefault(crop.image, []).append(crop)
    turns = [(turn, -crop.score, crop) for found in by_image.values() for turn, crop in enumerate(found)]
    return [crop for _, _, crop in sorted(turns, key=lambda one: one[:2])][:count]
