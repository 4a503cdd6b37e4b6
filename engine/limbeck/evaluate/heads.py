"""The linear probe as LGM and SFM publish it: a head that learns the labels of a set, on fresh views in each epoch.

`limbeck.evaluate.probe` asks the same in closed form, in seconds and without a seed; figures of papers compare with
this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from limbeck.arrays import Features
from limbeck.backbone import PackBackbone
from limbeck.errors import ConfigError
from limbeck.evaluate.linear import HeadLearner, LinearTraining
from limbeck.evaluate.probe import Accuracy
from limbeck.labels.features import features_of_all
from limbeck.labels.pixels import Pixels, refuse_unlike
from limbeck.linear_head import LinearHead

BASELINES = ("random", "all")


@dataclass(frozen=True, kw_only=True)
class LinearHeads:
    """A frozen backbone whose heads are trained.

    Args:
        backbone: What sees the images.
        test: The real test images, the middle of each, at the size of the backbone.
        training: Of a head.
        seeds: Heads on each set, numbered from 0; LGM trains 5, SFM 3.
        batch: Images in one call of the backbone.
        on_progress: Called with what is trained on, epochs done and their total.
    """

    backbone: PackBackbone
    test: Pixels
    training: LinearTraining
    seeds: int = 5
    batch: int = 64
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None

    def compare(
        self, distilled: Sequence[Pixels], *, real: Pixels | None = None, baselines: Sequence[str] = ()
    ) -> list[Accuracy]:
        """Test accuracies after the last epoch, which is the only test, as published.

        Args:
            distilled: Sets that differ in their seed only, as large as crops are to be drawn from.
            real: The real training images; needed by the baselines.
            baselines: "random": as many random real images, another draw for each seed; "all": all of them.

        Raises:
            DataError: The sets differ in size or classes.
            ConfigError: A baseline without real images, or an unknown one.
        """
        refuse_unlike(distilled, self.test, *([] if real is None else [real]))
        if unknown := set(baselines) - set(BASELINES):
            raise ConfigError(f"a linear head has no baseline '{sorted(unknown)[0]}'; there is {', '.join(BASELINES)}")
        if baselines and real is None:
            raise ConfigError("comparing with real images needs them: give --train")
        tested = features_of_all(
            self.backbone,
            self.test,
            batch=self.batch,
            on_images=lambda done, total: self.on_progress("features", done, total),
        )
        every = range(self.seeds)
        rows = [self._accuracy("distilled", [(part, seed) for part in distilled for seed in every], tested)]
        if real is not None and "random" in baselines:
            draws = [(real.random_subset(ipc=distilled[0].ipc, seed=seed), seed) for seed in every]
            rows.append(self._accuracy("random real", draws, tested))
        if real is not None and "all" in baselines:
            rows.append(self._accuracy("all real", [(real, seed) for seed in every], tested))
        return rows

    def head(self, part: Pixels, *, seed: int, on_epoch: Callable[[int], None] = lambda done: None) -> LinearHead:
        """A head that learned the labels of `part`."""
        training = replace(self.training, seed=seed)
        learner = HeadLearner(
            part.labels,
            num_classes=len(part.class_names),
            dimensions=self.backbone.num_features,
            training=training,
        )
        for epoch in range(training.epochs):
            views = training.views(epoch, len(part.labels), size=part.size)
            learner.epoch(features_of_all(self.backbone, part, views=views, batch=self.batch))
            on_epoch(epoch + 1)
        return learner.head

    def _accuracy(self, name: str, runs: Sequence[tuple[Pixels, int]], tested: Features) -> Accuracy:
        found = []
        for number, (part, seed) in enumerate(runs):

            def count(done: int, number: int = number) -> None:
                self.on_progress(name, number * self.training.epochs + done, len(runs) * self.training.epochs)

            found.append(self.head(part, seed=seed, on_epoch=count).accuracy(tested, self.test.labels))
        return Accuracy(name, len(runs[0][0].labels), tuple(found))
