"""Trains a student and tests it on the way.

Every draw comes from the seed: weights and dropout from a torch generator that is put back afterwards, the rest from
the feed. On one machine with one number of threads a run is repeated bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from limbeck.arrays import Array, Images
from limbeck.errors import ConfigError
from limbeck.evaluate.feeds import Batch, Feed, HardFeed
from limbeck.evaluate.recipe import Recipe
from limbeck.evaluate.students import Student
from limbeck.labels.pixels import Pixels, normalized
from limbeck.randomness import small_seed

TEST_BATCH = 256


@dataclass(frozen=True)
class Trained:
    """A student after its last epoch.

    Args:
        network: In evaluation mode.
        curve: The epochs, counted from 1, after which it was tested, and the test accuracies, 0..1.
    """

    network: nn.Module
    curve: tuple[tuple[int, float], ...]


def train(
    student: Student,
    feed: Feed,
    test: Pixels,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "cpu",
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
) -> Trained:
    """Train a new `student` on what `feed` shows it, and test it when `recipe` says.

    Args:
        student: Which network.
        feed: The batches of each epoch.
        test: The real test images.
        recipe: How.
        seed: Decides the weights it begins with.
        device: Where torch computes.
        on_epoch: Called with the epochs done and the total after each one. It may raise to stop.
    """
    checks, curve = frozenset(recipe.checks()), []
    with torch.random.fork_rng():
        torch.manual_seed(small_seed(seed, student.name, "student"))
        network = student.build(num_classes=len(test.class_names), image_size=test.size)
        network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = _optimizer(network, recipe)
        for epoch in range(recipe.epochs):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * recipe.rate(epoch)
            network.train()
            for batch in feed.epoch(epoch):
                _backward(network, batch, recipe, device)
                optimizer.step()
                optimizer.zero_grad()
            if epoch + 1 in checks:
                curve.append((epoch + 1, accuracy(network, test, recipe=recipe, device=device)))
            on_epoch(epoch + 1, recipe.epochs)
    return Trained(network.eval(), tuple(curve))


def accuracy(network: nn.Module, test: Pixels, *, recipe: Recipe, device: str = "cpu") -> float:
    """The share of `test` whose own class has the highest logit, 0..1."""
    logits = predict(network, test, recipe=recipe, device=device)
    return float((logits.argmax(axis=1) == test.labels).mean())


def predict(network: nn.Module, pixels: Pixels, *, recipe: Recipe, device: str = "cpu") -> Array:
    """Logits of every image, shape (images, classes), with the network in evaluation mode."""
    starts = range(0, len(pixels.labels), TEST_BATCH)
    parts = [pixels.floats(slice(start, start + TEST_BATCH)) for start in starts]
    return np.concatenate([_logits(network, part, recipe.precision, device) for part in parts])


def refuse_device(device: str) -> None:
    """Refuse a device that torch does not have here.

    Raises:
        ConfigError: What torch says of it.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        said = str(error).splitlines()[0]
        there = ", ".join(["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))])
        raise ConfigError(f"torch cannot compute on '{device}': {said}; here it has {there}") from error


class StudentTeacher:
    """A trained network as a teacher.

    Args:
        trained: The network.
        student: Which it is.
        precision: As in `Recipe`.
        device: Where it is.
    """

    def __init__(self, trained: Trained, student: Student, *, precision: str = "float32", device: str = "cpu") -> None:
        self._network, self._precision, self._device = trained.network, precision, device
        weights = hashlib.sha256()
        for tensor in trained.network.state_dict().values():
            weights.update(tensor.cpu().contiguous().numpy().tobytes())
        self.key = f"{student.name} {weights.hexdigest()[:16]}"

    def logits(self, images: Images) -> Array:
        return _logits(self._network, images, self._precision, self._device)


TEACHER = Recipe(
    epochs=30,
    batch_size=64,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.01,
    cosine_periods=1.0,
    crop_scale=(0.5, 1.0),
)
"""How a teacher is trained on all real images: limbeck's own choice, as published teachers come trained."""


def train_teacher(
    student: Student,
    real: Pixels,
    test: Pixels,
    *,
    recipe: Recipe = TEACHER,
    seed: int = 0,
    device: str = "cpu",
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[StudentTeacher, float]:
    """A network trained on all real images, and its test accuracy after the last epoch."""
    feed = HardFeed(real, recipe, seed=seed)
    trained = train(student, feed, test, recipe, seed=seed, device=device, on_epoch=on_epoch)
    return StudentTeacher(trained, student, precision=recipe.precision, device=device), trained.curve[-1][1]


def num_parameters(student: Student, *, num_classes: int, image_size: int) -> int:
    """Numbers that a student learns."""
    with torch.random.fork_rng():
        network = student.build(num_classes=num_classes, image_size=image_size)
    return sum(parameter.numel() for parameter in network.parameters())


def _backward(network: nn.Module, batch: Batch, recipe: Recipe, device: str) -> None:
    """The gradient of one batch, piece by piece: the mean of its pieces' cross entropies at the recipe's temperature.

    Against soft targets its gradient is that of the published KL divergence; they differ by the targets' entropy.
    """
    images, targets = _tensor(batch.images, device), torch.from_numpy(batch.targets).to(device)
    with torch.autocast(device, torch.bfloat16, enabled=recipe.precision == "bfloat16"), torch.no_grad():
        if recipe.extra_pass:
            network(images)
    size = recipe.piece_size or len(images)
    pieces = list(zip(torch.split(images, size), torch.split(targets, size), strict=True))
    for shown, wanted in pieces:
        with torch.autocast(device, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = network(shown).float()
        torch.autograd.backward(cross_entropy(logits / recipe.temperature, wanted) / len(pieces))


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    decaying: list[Tensor] = []
    kept: list[Tensor] = []
    for weight in network.parameters():
        (decaying if recipe.decay_vectors or weight.ndim > 1 else kept).append(weight)
    groups: list[dict[str, Any]] = [{"params": decaying}, {"params": kept, "weight_decay": 0.0}]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def _logits(network: nn.Module, images: Images, precision: str, device: str) -> Array:
    network.eval()
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        logits: Array = network(_tensor(normalized(images), device)).float().cpu().numpy()
    return logits


def _tensor(images: Images, device: str) -> Tensor:
    return torch.from_numpy(images).to(device, memory_format=torch.channels_last)
