"""Classifier inheritance: a backbone takes over the classifier that another was given, by way of a distilled set.

With a distilled set comes a *golden head*, trained on the features of all real images by the backbone that distilled
(SFM). On another backbone only a linear *projector* is learned, from its features of the distilled images to the
distilling backbone's features of the same views; no label is used, and the head stays as it is:

    other backbone  --projector-->  the distilling backbone's features  --golden head-->  classes

Both steps are linear, so together they are a head for the other backbone, and the distilling one is not needed to use
it. The projector is learned by Adam as published, or found in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from limbeck.arrays import Array, Features
from limbeck.errors import ConfigError
from limbeck.linear_head import LinearHead
from limbeck.randomness import generator
from limbeck_kernels.adam import Adam

PairedViews = Callable[[int], tuple[Features, Features]]
"""An epoch to the features of the same views of all distilled images: by the other backbone, and by the distilling
one. Shapes (images, dimensions) of each."""


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


@dataclass(frozen=True, kw_only=True)
class ProjectorTraining:
    """How a projector is learned.

    Args:
        epochs: Passes over the distilled set, each on new views.
        batch: Images in a step, at most.
        rate: Of Adam at first, for a batch of 256; it falls to 0 along a cosine.
        seed: Where the projector begins, and the order of the images.
    """

    epochs: int = 1000
    batch: int = 100
    rate: float = 0.01
    seed: int = 0

    @classmethod
    def faithful(cls, *, seed: int = 0) -> ProjectorTraining:
        """The release's settings, which are the defaults; it begins as torch's linear layer does, and so does this."""
        return cls(seed=seed)


def adam_projector(views: PairedViews, training: ProjectorTraining | None = None) -> Projector:
    """A projector learned by Adam on mean squared error, as published.

    Args:
        views: Called with each epoch, 0 first. Features of views made beforehand may be given again and again.
        training: The settings.
    """
    training = training or ProjectorTraining()
    given, wanted = views(0)
    rng = generator(training.seed, "", 0, "projector")
    bound = given.shape[1] ** -0.5
    weight, bias = (
        rng.uniform(-bound, bound, shape).astype(np.float32)
        for shape in ((wanted.shape[1], given.shape[1]), wanted.shape[1:])
    )
    moments = Adam.fresh(weight), Adam.fresh(bias)
    for epoch in range(training.epochs):
        given, wanted = views(epoch) if epoch else (given, wanted)
        batch = min(training.batch, len(given))
        rate = training.rate * batch / 256 * (1 + np.cos(np.pi * epoch / training.epochs)) / 2
        order = rng.permutation(len(given))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            error: Array = given[rows] @ weight.T + bias - wanted[rows]
            slope = error * np.float32(2 / error.size)
            weight, first = moments[0].step(weight, slope.T @ given[rows], rate=rate)
            bias, second = moments[1].step(bias, slope.sum(axis=0), rate=rate)
            moments = first, second
    return Projector(weight, bias)
