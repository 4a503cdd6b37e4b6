"""Training: it learns, it repeats itself, and it steps as the recipe says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from limbeck.evaluate.recipe import Recipe
from limbeck.evaluate.students import Student
from support.pixels import ColorTeacher, colored

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from limbeck.evaluate.feeds import HardFeed, TaughtFeed  # noqa: E402
from limbeck.evaluate.training import Trained, num_parameters, train, train_teacher  # noqa: E402

RECIPE = Recipe(
    epochs=12, batch_size=8, optimizer="sgd", learning_rate=0.05, weight_decay=0.0, check_every=4, cutmix_beta=1.0
)
STUDENT = Student(name="convnet-3", width=8)


def trained(recipe: Recipe = RECIPE, *, seed: int = 0, student: Student = STUDENT) -> Trained:
    rng = np.random.default_rng(0)
    pixels, test = colored(rng, ipc=8), colored(rng, ipc=20)
    return train(student, HardFeed(pixels, recipe, seed=seed), test, recipe, seed=seed)


def weights(run: Trained) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in run.network.parameters()])


def test_a_student_learns_classes_that_differ() -> None:
    run = trained()
    assert [epoch for epoch, _ in run.curve] == [4, 8, 12]
    assert run.curve[-1][1] > 0.9


def test_a_student_learns_from_a_teacher() -> None:
    rng = np.random.default_rng(0)
    recipe = replace(RECIPE, temperature=4.0, extra_pass=True, optimizer="adamw", learning_rate=1e-2)
    student = replace(STUDENT, norm="batch")
    feed = TaughtFeed(colored(rng, ipc=8), recipe, ColorTeacher(), seed=0)
    assert train(student, feed, colored(rng, ipc=20), recipe, seed=0).curve[-1][1] > 0.9


def test_a_seed_decides_every_weight() -> None:
    assert torch.equal(weights(trained()), weights(trained()))
    assert not torch.equal(weights(trained()), weights(trained(seed=1)))


def test_what_torch_draws_elsewhere_is_not_changed_by_training() -> None:
    torch.manual_seed(5)
    before = torch.rand(3)
    torch.manual_seed(5)
    trained(replace(RECIPE, epochs=1))
    assert torch.equal(torch.rand(3), before)


def test_pieces_of_a_batch_make_its_one_step() -> None:
    """Two halves make the step of the whole one; instance norm sees one image at a time."""
    plain = replace(RECIPE, epochs=1, batch_size=12)
    whole, halves = trained(plain), trained(replace(plain, piece_size=6))
    torch.testing.assert_close(weights(whole), weights(halves), rtol=1e-4, atol=1e-6)


def test_vectors_decay_only_if_the_recipe_says_so() -> None:
    """At rate 0.1 and decay 1, AdamW takes a tenth of a weight away in one step, and its gradient as much at most."""
    recipe = replace(RECIPE, optimizer="adamw", learning_rate=0.1, weight_decay=1.0, epochs=1, batch_size=24)
    student = replace(STUDENT, norm="batch")
    norms = []
    for decay_vectors in (True, False):
        run = trained(replace(recipe, decay_vectors=decay_vectors), student=student)
        norms.append(next(m for m in run.network.modules() if isinstance(m, torch.nn.BatchNorm2d)).weight.detach())
    torch.testing.assert_close(norms[1] - norms[0], torch.full_like(norms[0], 0.1), rtol=1e-4, atol=1e-5)


def test_one_step_of_sgd_is_that_of_torch_by_hand() -> None:
    recipe = replace(RECIPE, cutmix_beta=None, flip=0.0, epochs=1, batch_size=24, weight_decay=0.1)
    rng = np.random.default_rng(0)
    pixels, test = colored(rng, ipc=8), colored(rng, ipc=20)
    feed = HardFeed(pixels, recipe, seed=0)
    start = train(STUDENT, feed, test, replace(recipe, learning_rate=0.0), seed=0)
    (batch,) = feed.epoch(0)
    logits = start.network(torch.from_numpy(batch.images))
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(batch.targets.argmax(axis=1))).backward()
    by_hand = torch.cat([(w - 0.05 * (w.grad + 0.1 * w)).detach().flatten() for w in start.network.parameters()])
    torch.testing.assert_close(weights(train(STUDENT, feed, test, recipe, seed=0)), by_hand, rtol=1e-4, atol=1e-6)


def test_extra_passes_move_the_statistics_of_batch_norm_further() -> None:
    def momentum_steps(extra_pass: bool) -> int:
        run = trained(replace(RECIPE, epochs=1, extra_pass=extra_pass), student=replace(STUDENT, norm="batch"))
        (steps,) = {int(m.num_batches_tracked) for m in run.network.modules() if isinstance(m, torch.nn.BatchNorm2d)}
        return steps

    assert momentum_steps(True) == 2 * momentum_steps(False)


def test_bfloat16_learns_too() -> None:
    assert trained(replace(RECIPE, precision="bfloat16")).curve[-1][1] > 0.9


def test_a_trained_network_is_a_teacher() -> None:
    rng = np.random.default_rng(0)
    real, test = colored(rng, ipc=20), colored(rng, ipc=20)
    teacher, found = train_teacher(STUDENT, real, test, recipe=RECIPE)
    answers = teacher.logits(test.floats(slice(None))).argmax(axis=1)
    assert (answers == test.labels).mean() == pytest.approx(found)
    assert found > 0.9


def test_counting_parameters_draws_nothing() -> None:
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    assert num_parameters(Student(name="convnet-3"), num_classes=10, image_size=32) == 320_010
    assert torch.equal(torch.rand(1), before)
