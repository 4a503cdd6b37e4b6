"""Classifier inheritance: a backbone takes over the classifier that another was given, by way of a distilled set.

With a distilled set comes a *golden head*, trained on the features of all real images by the backbone that distilled
(SFM). On another backbone only a linear *projector* is learned, from its features of the distilled images to the
distilling backbone's features of the same views; no label is used, and the head stays as it is:

    other backbone  --projector-->  the distilling backbone's features  --golden head-->  classes

Both steps are linear, so together they are a head for the other backbone, and the distilling one is not needed to use
it. The projector is learned by Adam as published, or found in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limbeck.arrays import Array, ClassIds, Features
from limbeck.errors import ConfigError
from limbeck.evaluate.linear import LinearLearner, LinearTraining
from limbeck.linear_head import LinearHead
from limbeck.randomness import generator


@dataclass(frozen=True, eq=False)
class Projector:
    """`features @ weight.T + bias`, from one backbone's features to another's.

    Args:
        weight: Shape (dimensions to, dimensions from).
        bias: Shape (dimensions to,).
    """

    weight: Array
    bias: Array

    def __call__(self, features: Features) -> Array:
        """Shape (batch, dimensions to)."""
        return features @ self.weight.T + self.bias

    def loss(self, views: tuple[Features, Features]) -> float:
        """Mean squared error on paired features."""
        return float(np.square(self(views[0]) - views[1]).mean())


def inherited(head: LinearHead, projector: Projector) -> LinearHead:
    """The head that reads the other backbone's features: `head` behind `projector`."""
    return LinearHead(head.weight @ projector.weight, head.weight @ projector.bias + head.bias)


def ridge_projector(views: tuple[Features, Features], *, penalty: float = 1e-3) -> Projector:
    """The projector with the least squared error on these features plus `penalty` times its size, in closed form.

    Args:
        views: Features of many views, paired; the bias is not penalized.
        penalty: In parts of the mean variance of the features it reads, so that their scale does not matter. With
            fewer views than dimensions it decides what they leave open.

    Raises:
        ConfigError: The penalty is negative, or zero where the views leave something open.
    """
    if penalty < 0:
        raise ConfigError(f"penalty must be at least 0, got {penalty}")
    given, wanted = (part.astype(np.float64) for part in views)
    (center, aim), count = (given.mean(axis=0), wanted.mean(axis=0)), len(given)
    x, y = given - center, wanted - aim
    covariance = x.T @ x / count
    ridge = penalty * np.trace(covariance) / len(covariance)
    try:
        weight = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), x.T @ y / count).T
    except np.linalg.LinAlgError as error:
        raise ConfigError(
            f"{count} views do not decide a projector from {len(covariance)} dimensions; penalty must be above 0"
        ) from error
    return Projector(weight.astype(np.float32), (aim - weight @ center).astype(np.float32))


class ProjectorLearner:
    """A projector under way, learned by Adam on mean squared error as published.

    Args:
        given: Dimensions of the features that it reads.
        wanted: Dimensions of the features that it is to give.
        training: How. It begins as torch's linear layer does, and so does the release's.
    """

    def __init__(self, *, given: int, wanted: int, training: LinearTraining) -> None:
        rng = generator(training.seed, "", 0, "projector")
        bound = given**-0.5
        weight, bias = (rng.uniform(-bound, bound, shape).astype(np.float32) for shape in ((wanted, given), (wanted,)))
        self._learner = LinearLearner(weight, bias, rate=training.projector_rate, training=training, rng=rng)

    @property
    def projector(self) -> Projector:
        """The projector as it is now."""
        return Projector(self._learner.weight, self._learner.bias)

    def epoch(self, views: tuple[Features, Features]) -> None:
        """One pass over the features of the same views by both backbones."""
        given, wanted = views

        def slope(outputs: Array, rows: ClassIds) -> Array:
            error: Array = outputs - wanted[rows]
            return error * np.float32(2 / error.size)

        self._learner.epoch(given, slope)
