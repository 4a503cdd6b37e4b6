"""Protocols, run: what is compared with what, what is said of it, and that a seed decides it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from limbeck.errors import ConfigError, DataError
from limbeck.evaluate.protocols import HardLabels, OnlineSoftLabels, Protocol, StoredSoftLabels
from limbeck.evaluate.ranking import squashed
from limbeck.evaluate.recipe import Recipe
from limbeck.evaluate.results import Run, Worth
from limbeck.evaluate.students import Student
from limbeck.labels.pixels import Pixels
from support.pixels import ColorTeacher, colored

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from limbeck.evaluate.runs import Evaluator, scores_of  # noqa: E402


@pytest.fixture
def sets(rng: np.random.Generator) -> tuple[Pixels, Pixels, Pixels]:
    """Distilled, real, test."""
    return colored(rng, ipc=2), colored(rng, ipc=6), colored(rng, ipc=5)


def evaluator(test: Pixels, protocol: Protocol | None = None, **more: Any) -> Evaluator:
    settings: dict[str, Any] = {"seeds": 2, "epochs": 2, "checks": 1, **more}
    return Evaluator(
        protocol=protocol or HardLabels(), student=Student(name="convnet-3", width=4), test=test, **settings
    )


def without_times(found: Any) -> Any:
    for result in found["results"]:
        for run in result["runs"]:
            del run["seconds"]
    return found


def test_a_set_is_compared_with_random_and_all_real_images(sets: tuple[Pixels, ...]) -> None:
    distilled, real, test = sets
    found = evaluator(test).evaluate([distilled, distilled], real=real, baselines=["random", "all"])
    assert [(w.trained_on, w.images, [(r.set_index, r.seed) for r in w.runs]) for w in found.worths] == [
        ("distilled", 6, [(0, 0), (0, 1), (1, 0), (1, 1)]),
        ("random real", 6, [(0, 0), (1, 1)]),
        ("all real", 18, [(0, 0), (0, 1)]),
    ]
    assert set(found.scores) == {"improvement_over_random", "hard_label_recovery", "label_robust_score"}


@pytest.mark.parametrize("protocol", [HardLabels(), OnlineSoftLabels(), StoredSoftLabels()], ids=lambda p: p.name)
def test_an_evaluation_repeats_itself(protocol: Protocol, sets: tuple[Pixels, ...]) -> None:
    distilled, _, test = sets
    twice = [
        without_times(evaluator(test, protocol, teacher=ColorTeacher()).evaluate([distilled]).as_dict())
        for _ in range(2)
    ]
    assert twice[0] == twice[1]


def test_what_was_not_followed_is_said(sets: tuple[Pixels, ...]) -> None:
    distilled, _, test = sets
    (worth,) = evaluator(test, precision="bfloat16").evaluate([distilled]).worths
    assert worth.overrides["image_size"] == {"published": 224, "used": 16}
    assert worth.overrides["epochs"] == {"published": 2000, "used": 2}
    assert "norm" not in worth.overrides


def test_another_norm_than_the_published_is_said(sets: tuple[Pixels, ...]) -> None:
    distilled, _, test = sets
    asked = replace(evaluator(test), student=Student(name="convnet-3", width=4, norm="batch"))
    assert asked.evaluate([distilled]).worths[0].overrides["norm"] == {"published": "instance", "used": "batch"}


def test_stored_labels_may_come_from_a_file(sets: tuple[Pixels, ...]) -> None:
    distilled, _, test = sets
    teaching = evaluator(test, StoredSoftLabels(), teacher=ColorTeacher(), seeds=1)
    stored = teaching.labeled(distilled, teaching.recipes(distilled)[1], seed=0)
    read = evaluator(test, StoredSoftLabels(), stored=stored, seeds=1)
    first, second = (one.evaluate([distilled]).worths[0].runs[0].curve for one in (teaching, read))
    assert first == second


@pytest.mark.parametrize("protocol", [OnlineSoftLabels(), StoredSoftLabels()], ids=lambda p: p.name)
def test_soft_labels_need_a_teacher(protocol: Protocol, sets: tuple[Pixels, ...]) -> None:
    with pytest.raises(ConfigError, match="needs a teacher"):
        evaluator(sets[2], protocol)


def test_sets_of_other_classes_are_refused(sets: tuple[Pixels, ...]) -> None:
    distilled, _, test = sets
    other = Pixels(distilled.images, distilled.labels, ("a", "b", "c"))
    with pytest.raises(DataError, match="cannot be compared"):
        evaluator(test).evaluate([distilled, other])


def test_baselines_without_real_images_are_refused(sets: tuple[Pixels, ...]) -> None:
    distilled, _, test = sets
    with pytest.raises(ConfigError, match="give --train"):
        evaluator(test).evaluate([distilled], baselines=["random"])


def worth(trained_on: str, *accuracies: float) -> Worth:
    recipe = Recipe(epochs=1, batch_size=1, optimizer="sgd", learning_rate=1, weight_decay=0)
    runs = tuple(
        Run(set_index=0, seed=seed, curve=((1, accuracy), (2, 0.1)), seconds=1.0)
        for seed, accuracy in enumerate(accuracies)
    )
    return Worth(trained_on=trained_on, images=1, recipe=recipe, overrides={}, runs=runs)


def test_best_and_last_are_means_with_the_sample_deviation() -> None:
    found = worth("distilled", 0.4, 0.6)
    assert found.best == pytest.approx((0.5, 0.02**0.5))
    assert found.last == pytest.approx((0.1, 0.0))
    assert worth("distilled", 0.4).best == (0.4, 0.0)


def test_hard_labels_with_both_baselines_give_the_label_robust_score() -> None:
    scores = scores_of([worth("distilled", 0.6), worth("random real", 0.5), worth("all real", 0.9)], hard=True)
    assert scores["label_robust_score"] == pytest.approx(squashed(0.5 * 0.1 - 0.5 * 0.3))


def test_images_as_they_are_give_the_augmentation_robust_score(sets: tuple[Pixels, ...]) -> None:
    distilled, real, test = sets
    found = evaluator(test, seeds=1).evaluate([distilled], real=real, baselines=["random", "plain"])
    best = {one.trained_on: one.best[0] for one in found.worths}
    gains = [best[f"distilled{end}"] - best[f"random real{end}"] for end in ("", ", not augmented")]
    assert found.scores["augmentation_robust_score"] == pytest.approx(squashed(sum(gains) / 2))
    plain = found.worths[2].recipe
    assert (plain.crop_scale, plain.flip, plain.cutmix_beta) == ((1.0, 1.0), 0.0, None)


def test_stored_labels_are_of_augmented_images(sets: tuple[Pixels, ...]) -> None:
    distilled, _, test = sets
    judge = evaluator(test, StoredSoftLabels(), teacher=ColorTeacher())
    with pytest.raises(ConfigError, match="leave out the baseline 'plain'"):
        judge.evaluate([distilled], baselines=["plain"])


def test_soft_labels_alone_give_no_score_that_compares_hard_ones() -> None:
    scores = scores_of([worth("distilled", 0.6), worth("random real", 0.5), worth("all real", 0.9)], hard=False)
    assert set(scores) == {"improvement_over_random"}


def test_soft_labels_beside_hard_ones_give_the_label_robust_score(sets: tuple[Pixels, ...]) -> None:
    """What soft labels add counts as improvement over random; what hard ones lose counts against the set."""
    distilled, real, test = sets
    judge = evaluator(test, OnlineSoftLabels(), teacher=ColorTeacher(), seeds=1)
    found = judge.evaluate([distilled], real=real, baselines=["random", "hard"])
    best = {one.trained_on: one.best[0] for one in found.worths}
    recovery = best["all real, hard labels"] - best["distilled, hard labels"]
    gain = best["distilled"] - best["random real"]
    assert found.scores["label_robust_score"] == pytest.approx(squashed(gain / 2 - recovery / 2))
    assert found.worths[-1].recipe.temperature == 1.0
    assert found.labels == "online"


def test_hard_labels_need_no_hard_ones_beside(sets: tuple[Pixels, ...]) -> None:
    distilled, real, test = sets
    with pytest.raises(ConfigError, match="leave out the baseline 'hard'"):
        evaluator(test).evaluate([distilled], real=real, baselines=["hard"])


def test_another_teacher_than_the_published_one_is_said(sets: tuple[Pixels, ...]) -> None:
    distilled, _, test = sets
    found = evaluator(test, OnlineSoftLabels(), teacher=ColorTeacher(), seeds=1).evaluate([distilled])
    assert found.worths[0].overrides["teacher"] == {"published": "resnet-18", "used": ColorTeacher().key}
