"""RDED: crops of real images that a teacher recognizes, composed to images.

Sun et al., "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation Paradigm", CVPR 2024.
For every class:

1. crop     - of each of up to `candidates` images, `crops` random squares;
2. score    - the teacher's cross-entropy with the true class: low is realistic;
3. select   - the best crop of each image, and of these the `ipc * parts**2` with the lowest cross-entropy;
4. compose  - images of `parts` by `parts` crops.

The teacher here is the pack's backbone with a logistic regression that is fitted to the candidates of all classes; the
paper takes a network that was trained on the full set.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from limbeck.arrays import Array, Images
from limbeck.data.base import ImageSource
from limbeck.errors import ConfigError, DataError
from limbeck.linear_head import LinearHead
from limbeck.memory.work import Work
from limbeck.methods.base import NO_STATES, Event, Progress, State, Unit
from limbeck.methods.shared.by_class import class_counts
from limbeck.methods.shared.mosaic import Order
from limbeck.methods.shared.patch_selection import PatchSelection
from limbeck.methods.shared.realism import best_crops, fitted_teacher, judged
from limbeck.methods.shared.settings import refuse_below_one
from limbeck.methods.shared.windows import NBYTES as WINDOW_NBYTES
from limbeck.methods.shared.windows import Window, cut
from limbeck.models import Models, Part
from limbeck.randomness import generator


@dataclass(frozen=True, kw_only=True)
class RDED(PatchSelection):
    """Realistic crops, composed.

    Args:
        ipc, parts, fit: As `PatchSelection`.
        seed: With class name and image, fixes the crops; with the class name, the candidates.
        candidates: How many images of a class, drawn at random, are looked at.
        crops: Random squares of each.
        scale: The smallest and largest area of a square as a fraction of the image's.
        padded: Show the teacher a crop at the size of a patch amid black, instead of filling what it reads.
        order: Which crops share an image.
        scratch_bytes: The most that the candidates' features of all classes may take, in bytes; fitting the teacher
            needs four times that.
    """

    name: ClassVar[str] = "rded"
    needs: ClassVar[AbstractSet[Part]] = frozenset({"backbone"})
    candidates: int = 300
    crops: int = 5
    scale: tuple[float, float] = (0.08, 1.0)
    padded: bool = False
    order: Order = "consecutive"
    scratch_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        super().__post_init__()
        refuse_below_one(self, "candidates", "crops")
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise ConfigError(f"scale must be two rising fractions above 0 and at most 1, got {self.scale}")

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The official release's numbers, with two quirks that shape the result.

        The teacher sees every crop reduced to a patch amid black, and image j is composed of the crops j, n + j,
        2 n + j and 3 n + j, so that a smaller set is no part of a larger one. Not its: images are not stored as JPEG,
        and a class with fewer images than crops are needed gives second best crops too.
        """
        return cls(ipc=ipc, seed=seed, padded=True, order="strided")

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse small classes, too few crops, patches that fill no image, and features beyond `scratch_bytes`."""
        super().check(source, models)
        if len(source.class_names) < 2:
            raise DataError(
                f"the only class is '{source.class_names[0]}'; the teacher tells classes apart, so there must be two"
            )
        fewest = min(min(class_counts(source)), self.candidates) * self.crops
        if fewest < self.num_patches(models):
            parts = self.parts_of(models)
            or_parts = ", or set parts=1" if parts > 1 else ""
            raise ConfigError(
                f"the smallest class gives {fewest} crops, ipc={self.ipc} images of {parts} by {parts} need "
                f"{self.num_patches(models)}; raise candidates or crops{or_parts}"
            )
        needed = self._features_nbytes(source, models)
        if needed > self.scratch_bytes:
            raise ConfigError(
                f"the features that the teacher is fitted to take {needed:,} bytes; scratch_bytes allows "
                f"{self.scratch_bytes:,}\nlower candidates, or raise scratch_bytes"
            )

    def warm_up(self) -> None:
        """scikit-learn, with SciPy and the buffers of its OpenBLAS."""
        rng = np.random.default_rng(0)
        fitted_teacher(rng.standard_normal((256, 1024), dtype=np.float32), np.arange(256) % 8)

    def work(self, source: ImageSource, models: Models) -> Work:
        """Every candidate and its crops go through the backbone."""
        return Work(
            class_images=tuple(min(count, self.candidates) for count in class_counts(source)),
            images_per_class=self.ipc,
            scratch_nbytes=4 * self._features_nbytes(source, models) + self.candidates * self.crops * WINDOW_NBYTES,
            features_of_each=1 + self.crops,
        )

    def distill(
        self,
        units: Sequence[Unit],
        source: ImageSource,
        models: Models,
        *,
        resume: Mapping[int, State] = NO_STATES,
    ) -> Iterator[Event]:
        """Fit the teacher, then select and compose, class by class."""
        teacher = yield from self._teacher(source, models)
        for unit in units:
            crops = yield from self._scored(unit.class_ids[0], source, models, teacher)
            chosen = best_crops(crops, self.num_patches(models))
            losses = [-crop.score for crop in chosen]
            columns = {"cross_entropies": losses}
            yield from self.composed(unit, chosen, source, models, columns=columns, order=self.order)

    def _teacher(self, source: ImageSource, models: Models) -> Generator[Progress, None, LinearHead]:
        counts = class_counts(source)
        total = sum(min(count, self.candidates) for count in counts)
        features = np.empty((total, models.backbone.num_features), np.float32)
        labels = np.empty(total, np.int64)
        done = 0
        for class_id in range(len(counts)):
            for _, images in self._candidates(class_id, source, models):
                features[done : done + len(images)] = models.backbone.features(images)
                labels[done : done + len(images)] = class_id
                done += len(images)
                yield Progress("teacher", done, total)
        return fitted_teacher(features, labels)

    def _scored(
        self, class_id: int, source: ImageSource, models: Models, teacher: LinearHead
    ) -> Generator[Progress, None, list[Window]]:
        """All crops of the class's candidates; the score is minus the cross-entropy."""
        name = source.class_names[class_id]
        total = min(len(source.names(class_id)), self.candidates) * self.crops
        scored: list[Window] = []
        shown: list[tuple[Window, Array]] = []
        for places, images in self._candidates(class_id, source, models):
            for place, image in zip(places, images, strict=True):
                for window in self._windows(name, place):
                    shown.append((window, self._as_shown(image, window, models)))
                    if len(shown) == models.bucket:
                        scored += judged(shown, class_id, models, teacher)
                        shown.clear()
                        yield Progress(f"score {name}", len(scored), total)
        if shown:
            scored += judged(shown, class_id, models, teacher)
            yield Progress(f"score {name}", len(scored), total)
        return scored

    def _candidates(self, class_id: int, source: ImageSource, models: Models) -> Iterator[tuple[list[int], Images]]:
        """Positions and images of the class's candidates, as the backbone reads them."""
        rng = generator(self.seed, source.class_names[class_id], 0, "candidates")
        count = len(source.names(class_id))
        wanted = set(rng.permutation(count)[: self.candidates].tolist())
        start = 0
        for images in source.images(class_id, size=models.backbone.image_size, fit=self.fit, batch=models.bucket):
            places = [start + row for row in range(len(images)) if start + row in wanted]
            if places:
                yield places, images[[place - start for place in places]]
            start += len(images)

    def _windows(self, class_name: str, image: int) -> list[Window]:
        rng = generator(self.seed, class_name, image, "crops")
        sides = np.sqrt(rng.uniform(*self.scale, self.crops))
        corners = rng.random((self.crops, 2)) * (1 - sides[:, None])
        return [
            Window(image, float(top), float(left), float(side), 0.0)
            for (top, left), side in zip(corners, sides, strict=True)
        ]

    def _as_shown(self, image: Array, window: Window, models: Models) -> Array:
        """A crop as the teacher sees it, at the size that the backbone reads."""
        size = models.backbone.image_size
        if not self.padded:
            return cut(image, window, size)
        small = size // self.parts_of(models)
        before = (size - small) // 2
        after = size - small - before
        return np.pad(cut(image, window, small), ((0, 0), (before, after), (before, after)))

    def _features_nbytes(self, source: ImageSource, models: Models) -> int:
        return sum(min(count, self.candidates) for count in class_counts(source)) * models.backbone.num_features * 4
