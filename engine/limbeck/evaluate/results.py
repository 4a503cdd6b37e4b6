"""What came out: test accuracies of trained students, best and last, over seeds, and how they were trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from limbeck.evaluate.recipe import Recipe
from limbeck.evaluate.students import Student


@dataclass(frozen=True, kw_only=True)
class Run:
    """One student trained once.

    Args:
        set_index: On which of the sets that differ in their seed only.
        seed: Of the training.
        curve: The epochs after which it was tested, and the test accuracies, 0..1.
        seconds: What it took, tests included.
    """

    set_index: int
    seed: int
    curve: tuple[tuple[int, float], ...]
    seconds: float

    @property
    def best(self) -> float:
        """The highest test accuracy on the way: chosen on the test images, as published figures are."""
        return max(accuracy for _, accuracy in self.curve)

    @property
    def last(self) -> float:
        """The test accuracy after the last epoch, which chose nothing."""
        return self.curve[-1][1]


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What training on one kind of images gave.

    Args:
        trained_on: "distilled", "random real" or "all real".
        images: How many images one set has.
        recipe: How it was trained.
        overrides: What of the published protocol was not followed: each number as published and as used.
        runs: One for each set and seed.
    """

    trained_on: str
    images: int
    recipe: Recipe
    overrides: Mapping[str, Mapping[str, object]]
    runs: tuple[Run, ...]

    @property
    def best(self) -> tuple[float, float]:
        """Mean and spread over runs of the best accuracy."""
        return mean_and_spread([run.best for run in self.runs])

    @property
    def last(self) -> tuple[float, float]:
        """Mean and spread over runs of the last accuracy."""
        return mean_and_spread([run.last for run in self.runs])

    def as_dict(self) -> dict[str, object]:
        """JSON values."""
        return {
            "trained_on": self.trained_on,
            "images": self.images,
            "best": dict(zip(("mean", "spread"), self.best, strict=True)),
            "last": dict(zip(("mean", "spread"), self.last, strict=True)),
            "runs": [
                {**asdict(run), "best": run.best, "last": run.last, "curve": [list(point) for point in run.curve]}
                for run in self.runs
            ],
            "recipe": asdict(self.recipe),
            "overrides": {name: dict(pair) for name, pair in self.overrides.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An evaluation, whole: what `--json` prints and the report shows.

    Args:
        protocol: Its name.
        labels: What the student learned from: "hard", "online" or "stored" labels.
        student: Which network was trained.
        parameters: How many numbers it learns.
        image_size: Height and width of the images that it was shown.
        class_names: In label order.
        teacher: Who gave soft labels, with its own test accuracy; None for hard labels.
        worths: What each kind of images gave.
        scores: DD-Ranking's, as far as what was trained allows.
    """

    protocol: str
    labels: str
    student: Student
    parameters: int
    image_size: int
    class_names: tuple[str, ...]
    teacher: Mapping[str, object] | None
    worths: tuple[Worth, ...]
    scores: Mapping[str, float]

    def as_dict(self) -> dict[str, object]:
        """JSON values."""
        return {
            "protocol": self.protocol,
            "labels": self.labels,
            "student": {**asdict(self.student), "norm": self.student.norm_used, "parameters": self.parameters},
            "image_size": self.image_size,
            "class_names": list(self.class_names),
            "teacher": None if self.teacher is None else dict(self.teacher),
            "results": [worth.as_dict() for worth in self.worths],
            "scores": dict(self.scores),
        }


def mean_and_spread(values: list[float]) -> tuple[float, float]:
    """The mean, and the sample standard deviation; 0 for one value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
