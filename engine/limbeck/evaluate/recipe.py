"""How a student is trained, every number said: what a protocol comes to for one set, one student and one IPC."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

from limbeck.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run, whole.

    Args:
        epochs: Passes over the set.
        batch_size: Images of a step; a smaller set is one batch.
        optimizer: SGD with momentum, or AdamW.
        learning_rate: Before any decay.
        weight_decay: L2 for SGD, decoupled for AdamW.
        decay_vectors: Whether biases and the weights of norms decay too.
        momentum: Of SGD.
        milestones: Parts of the epochs after which the rate is multiplied by `decay`; empty with a cosine.
        decay: At each milestone.
        cosine_periods: The rate follows half a cosine over this many times the epochs: 1 ends at 0, 2 at half the
            rate. None has none.
        crop_scale: Shares of the area between which random crops lie; (1, 1) crops nothing.
        flip: Probability of a flip.
        color_jitter: The range of brightness, contrast and saturation; 0 has none.
        lighting: Standard deviation along the principal axes of color; 0 has none.
        patches: Shuffle so many patches a side; 1 shuffles nothing.
        cutmix_beta: Every batch is mixed, lambda from Beta(beta, beta); None mixes nothing.
        temperature: Of teacher and student, where labels are soft.
        extra_pass: A pass of each batch through the student in training mode before its step, which only moves the
            running statistics of its batch norms.
        piece_size: Images of a batch that go through the student at once; the mean of the pieces' gradients makes one
            step. None is the whole batch.
        check_every: Epochs between tests.
        check_from: Part of the epochs up to which nothing is tested. The last epoch always is.
        precision: float32, or bfloat16 where torch's autocast says so.
    """

    epochs: int
    batch_size: int
    optimizer: Literal["sgd", "adamw"]
    learning_rate: float
    weight_decay: float
    decay_vectors: bool = True
    momentum: float = 0.9
    milestones: tuple[float, ...] = ()
    decay: float = 1.0
    cosine_periods: float | None = None
    crop_scale: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.5
    color_jitter: float = 0.0
    lighting: float = 0.0
    patches: int = 1
    cutmix_beta: float | None = None
    temperature: float = 1.0
    extra_pass: bool = False
    piece_size: int | None = None
    check_every: int = 1
    check_from: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"

    def rate(self, epoch: int) -> float:
        """What the learning rate is multiplied by in an epoch, counted from 0."""
        passed = sum(epoch >= int(part * self.epochs) for part in self.milestones)
        factor = self.decay**passed
        if self.cosine_periods is not None:
            factor *= 0.5 * (1 + math.cos(math.pi * epoch / (self.cosine_periods * self.epochs)))
        return factor

    def checks(self) -> tuple[int, ...]:
        """The epochs, counted from 1, after which the student is tested; the last of them is the last epoch."""
        waited = self.check_from * self.epochs
        regular = {epoch for epoch in range(self.check_every, self.epochs, self.check_every) if epoch > waited}
        return (*sorted(regular), self.epochs)


def shortened(published: int, *, scale: float = 1.0, epochs: int | None = None) -> int:
    """How many epochs there are instead of the published: these times `scale`, rounded up, or `epochs` themselves.

    Raises:
        ConfigError: Both, or a number below what is possible.
    """
    if epochs is not None and scale != 1.0:
        raise ConfigError("give scale or epochs, not both")
    if not 0 < scale < math.inf or (epochs is not None and epochs < 1):
        raise ConfigError(f"scale and epochs must be positive, got {scale}, {epochs}")
    return math.ceil(scale * published) if epochs is None else epochs


def overridden(
    recipe: Recipe,
    *,
    scale: float = 1.0,
    epochs: int | None = None,
    checks: int | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> Recipe:
    """A recipe for less time: milestones and the cosine keep their places in it.

    Args:
        recipe: The published one.
        scale: What the number of epochs is multiplied by, rounded up.
        epochs: The number of epochs itself; not together with `scale`.
        checks: How often to test on the way, instead of the published times.
        precision: bfloat16 is faster on processors and cards that have it; float32 is what is published.

    Raises:
        ConfigError: Both, or a number below what is possible.
    """
    count = shortened(recipe.epochs, scale=scale, epochs=epochs)
    if checks is not None and checks < 1:
        raise ConfigError(f"checks must be positive, got {checks}")
    every = max(1, round(recipe.check_every * count / recipe.epochs))
    if checks is not None:
        every = max(1, math.ceil((1 - recipe.check_from) * count / checks))
    return replace(recipe, epochs=count, check_every=every, precision=precision)


def without_augmentation(recipe: Recipe) -> Recipe:
    """The same with every image shown as it is."""
    return replace(recipe, crop_scale=(1.0, 1.0), flip=0.0, color_jitter=0.0, lighting=0.0, patches=1, cutmix_beta=None)


def differences(published: Recipe, used: Recipe) -> Mapping[str, Mapping[str, object]]:
    """What was overridden: for each such number, the published one and the one that was used."""
    before, after = asdict(published), asdict(used)
    return {name: {"published": before[name], "used": after[name]} for name in before if before[name] != after[name]}
