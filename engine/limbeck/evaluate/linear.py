"""Linear maps on frozen features, learned by Adam on fresh views of a small set: how LGM and SFM evaluate.

LGM (Cazenavette et al., 2025) learns a head on the labels of the distilled images. SFM does that, or gives the
head a teacher beside the labels (Hinton et al., 2015), or learns a projector to another backbone's features instead
(`limbeck.evaluate.inheritance`). The backbone never learns, so all of it is NumPy on features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from limbeck.arrays import Array, ClassIds, Features
from limbeck.labels.views import Views, draw_views
from limbeck.linear_head import LinearHead
from limbeck.randomness import generator
from limbeck_kernels.adam import Adam
from limbeck_kernels.softmax import softmax

Slope = Callable[[Array, ClassIds], Array]
"""Outputs for some rows of the set, and those rows, to the gradient of the loss by the outputs."""


@dataclass(frozen=True, kw_only=True)
class LinearTraining:
    """How a linear map is learned; the defaults are the releases' numbers.

    Args:
        epochs: Passes over the distilled set, each on new views.
        batch: Images in a step, at most.
        head_rate: Of Adam at first for a head, for a batch of 256; it falls to 0 along a cosine.
        projector_rate: The same for a projector.
        head_std: Standard deviation of the weights that a head begins with; its biases begin at 0.
        temperature: Of teacher and student, where a head has a teacher.
        teacher_share: What the teacher's loss weighs; the labels' loss weighs the rest.
        crop_scale: Of the views: shares of the area between which crops lie.
        flip: Of the views: the probability of a flip.
        seed: Where a map begins, the views, and the order of the images.
    """

    epochs: int = 1000
    batch: int = 100
    head_rate: float = 0.001
    projector_rate: float = 0.01
    head_std: float = 0.01
    temperature: float = 4.0
    teacher_share: float = 0.5
    crop_scale: tuple[float, float] = (0.08, 1.0)
    flip: float = 0.5
    seed: int = 0

    def views(self, epoch: int, count: int, *, size: int) -> Views:
        """The views of an epoch, of `count` images of `size` by `size` pixels."""
        rng = generator(self.seed, "", epoch, "views")
        return draw_views(rng, count, size=size, scale=self.crop_scale, flip=self.flip)


class LinearLearner:
    """A linear map `features @ weight.T + bias` under way.

    Args:
        weight, bias: Where it begins; shapes (outputs, dimensions) and (outputs,).
        rate: Of Adam at first, for a batch of 256.
        training: The rest.
        rng: The order of the images.
    """

    def __init__(
        self, weight: Array, bias: Array, *, rate: float, training: LinearTraining, rng: np.random.Generator
    ) -> None:
        self.weight, self.bias = weight, bias
        self._moments = Adam.fresh(weight), Adam.fresh(bias)
        self._rate, self._training, self._rng = rate, training, rng
        self._epochs = 0

    def epoch(self, features: Features, slope: Slope) -> None:
        """One pass over the features of an epoch's views, shape (images, dimensions)."""
        batch = min(self._training.batch, len(features))
        rate = self._rate * batch / 256 * (1 + np.cos(np.pi * self._epochs / self._training.epochs)) / 2
        order = self._rng.permutation(len(features))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            given = features[rows]
            slopes = slope(given @ self.weight.T + self.bias, rows)
            self.weight, first = self._moments[0].step(self.weight, slopes.T @ given, rate=rate)
            self.bias, second = self._moments[1].step(self.bias, slopes.sum(axis=0), rate=rate)
            self._moments = first, second
        self._epochs += 1


class HeadLearner:
    """A linear head under way.

    Args:
        labels: Of the images, shape (images,).
        num_classes: How many classes there are.
        dimensions: Of the features.
        training: How.
        use: Names the learner's own random numbers.
    """

    def __init__(
        self, labels: ClassIds, *, num_classes: int, dimensions: int, training: LinearTraining, use: str = "head"
    ) -> None:
        rng = generator(training.seed, "", 0, use)
        weight = rng.normal(0, training.head_std, (num_classes, dimensions)).astype(np.float32)
        self._targets = np.eye(num_classes, dtype=np.float32)[labels]
        self._training = training
        self._learner = LinearLearner(
            weight, np.zeros(num_classes, np.float32), rate=training.head_rate, training=training, rng=rng
        )

    @property
    def head(self) -> LinearHead:
        """The head as it is now."""
        return LinearHead(self._learner.weight, self._learner.bias)

    def epoch(self, features: Features, taught: Array | None = None) -> None:
        """One pass.

        Args:
            features: Of the epoch's views, shape (images, dimensions).
            taught: A teacher's logits of the same views, shape (images, classes). The loss then is `teacher_share`
                times the KL divergence at the temperature, times its square, and cross entropy for the rest.
        """
        self._learner.epoch(features, self._slope(taught))

    def _slope(self, taught: Array | None) -> Slope:
        heat = self._training.temperature
        share = 0.0 if taught is None else self._training.teacher_share
        wanted = None if taught is None else softmax(taught, heat)

        def slope(outputs: Array, rows: ClassIds) -> Array:
            slopes: Array = (1 - share) * (softmax(outputs) - self._targets[rows])
            if wanted is not None:  # of KL * heat^2; one heat is lost in the chain
                slopes = slopes + share * heat * (softmax(outputs, heat) - wanted[rows])
            return (slopes / len(rows)).astype(np.float32)

        return slope
