"""A backbone whose features and gradients are closed forms, as a pack's backbone with its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from limbeck.arrays import Features, Images
from limbeck.data.base import Fit
from limbeck.models import Models
from limbeck_kernels.flow import flow_loss
from support.sources import ArraySource


class TanhBackbone:
    """`tanh(A x)` of the pixels x; smooth, so that gradients can be compared with differences too."""

    key = "closed form"

    def __init__(self, *, size: int = 8, dimensions: int = 12, bucket: int = 4, seed: int = 0) -> None:
        self.image_size = size
        self.num_features = dimensions
        self.bucket = bucket
        self.calls: list[str] = []
        self._matrix = np.random.default_rng(seed).standard_normal((3 * size**2, dimensions)) / (3 * size)

    def features(self, images: Images) -> Features:
        self.calls.append("features")
        return self._features(images).astype(np.float32)

    def vjp(self, images: Images, cotangent: Features) -> tuple[Features, Images]:
        self.calls.append("vjp")
        features = self._features(images)
        slope = ((1 - features**2) * cotangent) @ self._matrix.T
        return features.astype(np.float32), slope.reshape(images.shape).astype(np.float32)

    def flow_gradient(
        self, images: Images, flow: Features, membership: Features, *, divisor: float
    ) -> tuple[float, Images]:
        self.calls.append("flow_gradient")
        assert len(images) <= self.bucket
        features = self._features(images)
        loss, slope = flow_loss(features, membership, flow.astype(np.float64), divisor)
        return loss, ((1 - features**2) * slope @ self._matrix.T).reshape(images.shape).astype(np.float32)

    def _features(self, images: Images) -> np.ndarray:
        return np.tanh((images.reshape(len(images), -1) - 0.5) @ self._matrix)


def tanh_models(*, bucket: int = 4, size: int = 8) -> Models:
    """Models with nothing but a `TanhBackbone`."""
    backbone = TanhBackbone(bucket=bucket, size=size)
    return Models(image_size=size, bucket=bucket, engines={"backbone": backbone.key}, backbone=backbone)


def contract_models(bucket: int) -> Models:
    """The same, for images of 16 pixels."""
    return replace(tanh_models(bucket=bucket), image_size=16)


class SizedSource(ArraySource):
    """Images of one color, of whatever size is asked."""

    def images(self, class_id: int, *, size: int, fit: Fit, batch: int) -> Iterator[Images]:
        colors = self._classes[self.class_names[class_id]]
        for start in range(0, len(colors), batch):
            yield np.tile(colors[start : start + batch], (1, 1, size, size)).astype(np.float32)
