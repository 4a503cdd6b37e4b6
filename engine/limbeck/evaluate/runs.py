"""Runs a protocol: trains the student on each set with each seed, and on what the set is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from limbeck.errors import ConfigError
from limbeck.evaluate.feeds import Feed, HardFeed, StoredFeed, TaughtFeed
from limbeck.evaluate.protocols import LabelKind, Protocol
from limbeck.evaluate.ranking import Accuracies, augmentation_robust_score, label_robust_score
from limbeck.evaluate.recipe import Recipe, differences, overridden, without_augmentation
from limbeck.evaluate.results import Evaluation, Run, Worth
from limbeck.evaluate.students import Student
from limbeck.evaluate.training import num_parameters, train
from limbeck.labels.pixels import Pixels, refuse_unlike
from limbeck.labels.relabel import relabel
from limbeck.labels.stored import StoredLabels
from limbeck.labels.teacher import Teacher, accuracy

BASELINES = ("random", "all", "plain", "hard")
PLAIN = ", not augmented"
"""Ends the name of what was trained on as it is."""
HARD = ", hard labels"
"""Ends the name of what a protocol of soft labels trained on with hard ones."""
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """A protocol with everything that it needs beside the images.

    Args:
        protocol: Which.
        student: Which network is trained.
        test: The real test images; their size is that of all images.
        seeds: Training runs on each set, numbered from 0.
        teacher: Who gives soft labels; not needed for hard ones, nor where they are stored already.
        stored: Soft labels that were made before, of the one distilled set.
        scale, epochs, checks, precision: As `recipe.overridden` takes them.
        device: Where torch computes.
        on_progress: Called with what is trained on, epochs done and their total. It may raise to stop.
    """

    protocol: Protocol
    student: Student
    test: Pixels
    seeds: int = 3
    teacher: Teacher | None = None
    stored: StoredLabels | None = None
    scale: float = 1.0
    epochs: int | None = None
    checks: int | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"
    on_progress: OnProgress = lambda stage, done, total: None

    def __post_init__(self) -> None:
        """Refuse soft labels without who gives them."""
        if self.protocol.labels == "online" and self.teacher is None:
            raise ConfigError(f"protocol '{self.protocol.name}' needs a teacher")
        if self.protocol.labels == "stored" and self.teacher is None and self.stored is None:
            raise ConfigError(f"protocol '{self.protocol.name}' needs a teacher or stored labels")
        if self.seeds < 1:
            raise ConfigError(f"seeds must be at least 1, got {self.seeds}")

    def evaluate(
        self, distilled: Sequence[Pixels], *, real: Pixels | None = None, baselines: Sequence[str] = ()
    ) -> Evaluation:
        """Train on the distilled sets, and on real images beside them.

        Args:
            distilled: Sets that differ in their seed only.
            real: The real training images; needed by "random" and "all".
            baselines: "random": as many random real images, another draw for each run; "all": all of them; "plain": the
                distilled and the random images once more without augmentation; "hard", of soft labels: the distilled
                and all real images with hard labels too, which DD-Ranking's label-robust score compares.

        Raises:
            DataError: The sets differ in size or classes.
            ConfigError: A baseline without real images, or stored labels for more than one set.
        """
        refuse_unlike(distilled, self.test, *([] if real is None else [real]))
        if self.stored is not None and (len(distilled) > 1 or baselines):
            raise ConfigError("stored labels are for one distilled set; leave out the other sets and the baselines")
        if unknown := set(baselines) - set(BASELINES):
            raise ConfigError(f"unknown baseline '{sorted(unknown)[0]}'; there is {', '.join(BASELINES)}")
        if "plain" in baselines and self.protocol.labels == "stored":
            raise ConfigError("stored labels are of augmented images; leave out the baseline 'plain'")
        if "hard" in baselines and self.protocol.labels == "hard":
            raise ConfigError("the labels of this protocol are hard; leave out the baseline 'hard'")
        if {"random", "all", "hard"} & set(baselines) and real is None:
            raise ConfigError("comparing with real images needs them: give --train")
        worths = [self.worth("distilled", distilled)]
        draws = []
        if real is not None and "random" in baselines:
            draws = [real.random_subset(ipc=distilled[0].ipc, seed=seed) for seed in range(self.seeds)]
            worths.append(self.worth("random real", draws, one_run_each=True))
        if real is not None and "all" in baselines:
            worths.append(self.worth("all real", [real]))
        if "plain" in baselines:
            worths.append(self.worth(f"distilled{PLAIN}", distilled, augmented=False))
            if draws:
                worths.append(self.worth(f"random real{PLAIN}", draws, one_run_each=True, augmented=False))
        if real is not None and "hard" in baselines:
            worths.append(self.worth(f"distilled{HARD}", distilled, labels="hard"))
            worths.append(self.worth(f"all real{HARD}", [real], labels="hard"))
        return Evaluation(
            protocol=self.protocol.name,
            labels=self.protocol.labels,
            student=self.student,
            parameters=num_parameters(self.student, num_classes=len(self.test.class_names), image_size=self.test.size),
            image_size=self.test.size,
            class_names=self.test.class_names,
            teacher=self._teacher(),
            worths=tuple(worths),
            scores=scores_of(worths, hard=self.protocol.labels == "hard"),
        )

    def worth(
        self,
        trained_on: str,
        sets: Sequence[Pixels],
        *,
        one_run_each: bool = False,
        augmented: bool = True,
        labels: LabelKind | None = None,
    ) -> Worth:
        """Train on each of `sets` with every seed.

        Args:
            trained_on: What they are.
            sets: Which.
            one_run_each: Train on the first with the first seed only, and so on.
            augmented: Whether images are augmented as the protocol says.
            labels: Others than the protocol's.
        """
        labels = labels or self.protocol.labels
        published, recipe = self.recipes(sets[0])
        if not augmented:
            recipe = without_augmentation(recipe)
        if labels == "hard":
            recipe = replace(recipe, temperature=1.0)
        pairs = [
            (index, seed) for index in range(len(sets)) for seed in ([index] if one_run_each else range(self.seeds))
        ]
        runs = []
        for number, (index, seed) in enumerate(pairs):
            start = time.perf_counter()

            def count(done: int, total: int, number: int = number) -> None:
                self.on_progress(trained_on, number * total + done, len(pairs) * total)

            feed = self._feed(sets[index], recipe, seed, labels)
            trained = train(self.student, feed, self.test, recipe, seed=seed, device=self.device, on_epoch=count)
            runs.append(Run(set_index=index, seed=seed, curve=trained.curve, seconds=time.perf_counter() - start))
        overrides = dict(differences(published, recipe))
        if self.test.size != self.protocol.image_size:
            overrides["image_size"] = {"published": self.protocol.image_size, "used": self.test.size}
        if self.student.width is not None:
            overrides["width"] = {"published": "the student's own", "used": self.student.width}
        if self.student.norm != self.student.with_norm(self.protocol.norm).norm:
            overrides["norm"] = {"published": self.protocol.norm, "used": self.student.norm}
        overrides |= self._other_teacher() if labels != "hard" else {}
        return Worth(
            trained_on=trained_on,
            images=len(sets[0].labels),
            recipe=recipe,
            overrides=overrides,
            runs=tuple(runs),
        )

    def recipes(self, pixels: Pixels) -> tuple[Recipe, Recipe]:
        """How a set is trained on as published, and as asked."""
        published = self.protocol.recipe(
            ipc=pixels.ipc,
            num_classes=len(pixels.class_names),
            student=self.student.name,
            image_size=pixels.size,
        )
        used = overridden(published, scale=self.scale, epochs=self.epochs, checks=self.checks, precision=self.precision)
        return published, used if self.stored is None else replace(used, batch_size=self.stored.batch_size)

    def labeled(self, pixels: Pixels, recipe: Recipe, *, seed: int) -> StoredLabels:
        """Soft labels of a set for every epoch of `recipe`, from the teacher."""
        if self.teacher is None or recipe.cutmix_beta is None:
            raise ConfigError("storing soft labels needs a teacher and a protocol that mixes images")
        return relabel(
            pixels,
            self.teacher,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            crop_scale=recipe.crop_scale,
            cutmix_beta=recipe.cutmix_beta,
            seed=seed,
            on_epoch=lambda done, total: self.on_progress("labeling", done, total),
        )

    def _feed(self, pixels: Pixels, recipe: Recipe, seed: int, labels: LabelKind) -> Feed:
        if labels == "stored":
            return StoredFeed(pixels, recipe, self.stored or self.labeled(pixels, recipe, seed=seed))
        if labels == "online" and self.teacher is not None:
            return TaughtFeed(pixels, recipe, self.teacher, seed=seed)
        return HardFeed(pixels, recipe, seed=seed)

    def _other_teacher(self) -> dict[str, Mapping[str, object]]:
        """The teacher as an override, if it is not the published one."""
        used = self.stored.teacher if self.stored else self.teacher.key if self.teacher else ""
        if self.protocol.teacher is None or used.startswith(self.protocol.teacher):
            return {}
        return {"teacher": {"published": self.protocol.teacher, "used": used}}

    def _teacher(self) -> dict[str, object] | None:
        if self.protocol.labels == "hard":
            return None
        if self.teacher is None:
            return {"key": self.stored.teacher if self.stored else "", "accuracy": None}
        return {"key": self.teacher.key, "accuracy": accuracy(self.teacher, self.test)}


def scores_of(worths: Sequence[Worth], *, hard: bool) -> dict[str, float]:
    """DD-Ranking's scores from mean best accuracies, as far as there is what they compare.

    Args:
        worths: What each kind of images gave.
        hard: Whether the protocol's own labels are hard.

    Improvement over random needs random images, hard-label recovery the distilled and all real ones with hard labels,
    the label-robust score both, and the augmentation-robust score random images and both without augmentation.
    """
    best = {worth.trained_on: worth.best[0] for worth in worths}
    scores: dict[str, float] = {}
    if "random real" in best:
        scores["improvement_over_random"] = best["distilled"] - best["random real"]
    if f"random real{PLAIN}" in best:
        scores["augmentation_robust_score"] = augmentation_robust_score(
            distilled_augmented=best["distilled"],
            random_augmented=best["random real"],
            distilled_plain=best[f"distilled{PLAIN}"],
            random_plain=best[f"random real{PLAIN}"],
        )
    end = "" if hard else HARD
    if f"all real{end}" not in best:
        return scores
    scores["hard_label_recovery"] = best[f"all real{end}"] - best[f"distilled{end}"]
    if "random real" in best:
        scores["label_robust_score"] = label_robust_score(
            Accuracies(
                real_hard=best[f"all real{end}"],
                distilled_hard=best[f"distilled{end}"],
                distilled=best["distilled"],
                random=best["random real"],
            )
        )
    return scores
