"""What the methods have in common that choose real images instead of making any.

`Selection` reads, checks and stores; a method says which images of a class it chooses. `FeatureSelection` hands it the
features of the class first. The chosen images are read once more, at the size of the set: between the two passes
only features are held, and of the second only what was chosen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from limbeck.arrays import Features, Images
from limbeck.data.base import Fit, ImageSource
from limbeck.errors import ConfigError
from limbeck.memory.work import Work
from limbeck.methods.base import NO_STATES, DistilledImages, Event, Progress, State, Unit
from limbeck.methods.shared.by_class import class_counts, one_unit_a_class, refuse_small_classes
from limbeck.methods.shared.class_features import class_features
from limbeck.methods.shared.settings import refuse_below_one
from limbeck.models import Models, Part


@dataclass(frozen=True, kw_only=True)
class Selection(ABC):
    """A method that chooses `ipc` images of each class.

    Args:
        ipc: Images per class.
        seed: With the class name, fixes what is left to chance.
        fit: How the chosen images become square.
    """

    name: ClassVar[str]
    needs: ClassVar[AbstractSet[Part]] = frozenset()
    ipc: int
    seed: int = 0
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        refuse_below_one(self, "ipc")

    @abstractmethod
    def chosen(self, class_id: int, source: ImageSource, models: Models) -> Generator[Progress, None, Sequence[int]]:
        """Positions of `ipc` different images of the class, in the order in which the set will have them."""

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse small classes."""
        refuse_small_classes(source, ipc=self.ipc)

    def warm_up(self) -> None:  # noqa: B027 - those that use a library override it
        """Nothing: NumPy is all it uses."""

    def units(self, source: ImageSource) -> Sequence[Unit]:
        """One unit a class."""
        return one_unit_a_class(source)

    def work(self, source: ImageSource, models: Models) -> Work:
        """Read every image."""
        return Work(class_images=class_counts(source), images_per_class=self.ipc, scratch_nbytes=0)

    def distill(
        self,
        units: Sequence[Unit],
        source: ImageSource,
        models: Models,
        *,
        resume: Mapping[int, State] = NO_STATES,
    ) -> Iterator[Event]:
        """Choose and read, class by class."""
        for unit in units:
            (class_id,) = unit.class_ids
            chosen = yield from self.chosen(class_id, source, models)
            images = yield from self._read(chosen, class_id, source, models)
            names = source.names(class_id)
            rows = tuple(
                {"seed": self.seed, "index": index, "source_image": names[position]}
                for index, position in enumerate(chosen)
            )
            yield DistilledImages(unit, images, unit.class_ids * self.ipc, rows)

    def _read(
        self, chosen: Sequence[int], class_id: int, source: ImageSource, models: Models
    ) -> Generator[Progress, None, Images]:
        size, batch = models.image_size, models.images_at_a_time
        made = np.empty((len(chosen), 3, size, size), np.float32)
        stage, last = f"read {source.class_names[class_id]}", max(chosen) + 1
        start = 0
        for images in source.images(class_id, size=size, fit=self.fit, batch=batch):
            for index, position in enumerate(chosen):
                if start <= position < start + len(images):
                    made[index] = images[position - start]
            start += len(images)
            yield Progress(stage, min(start, last), last)
            if start >= last:
                break
        return made


@dataclass(frozen=True, kw_only=True)
class FeatureSelection(Selection):
    """A selection by the features of a class's images.

    Args:
        normalize: Divide every feature vector by its length, so that only its direction counts.
        feature_fit: How an image becomes square before the backbone sees it; squash is what `limbeck evaluate` does.
        scratch_bytes: The most that the features of a class may take, in bytes.
    """

    needs: ClassVar[AbstractSet[Part]] = frozenset({"backbone"})
    normalize: bool = False
    feature_fit: Fit = "squash"
    scratch_bytes: int = 512 * 2**20

    copies: ClassVar[int] = 2
    """How many times the features of a class are held at the worst moment, or as much as that."""

    @abstractmethod
    def choose(self, features: Features, class_name: str) -> Sequence[int]:
        """Positions of `ipc` different rows of `features`, shape (images, dimensions)."""

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse small classes, and features beyond `scratch_bytes`."""
        super().check(source, models)
        needed = self._features_nbytes(source, models)
        if needed > self.scratch_bytes:
            raise ConfigError(
                f"the features of the largest class take {needed:,} bytes; scratch_bytes allows "
                f"{self.scratch_bytes:,}: raise it"
            )

    def work(self, source: ImageSource, models: Models) -> Work:
        """Read every image twice at most, and its features once."""
        held = self.copies * self._features_nbytes(source, models)
        return replace(super().work(source, models), scratch_nbytes=held)

    def chosen(self, class_id: int, source: ImageSource, models: Models) -> Generator[Progress, None, Sequence[int]]:
        features = yield from class_features(class_id, source, models, fit=self.feature_fit)
        if self.normalize:
            features = normalized(features)
        return self.choose(features, source.class_names[class_id])

    def _features_nbytes(self, source: ImageSource, models: Models) -> int:
        return max(class_counts(source)) * models.backbone.num_features * 4


def normalized(features: Features) -> Features:
    """Every row divided by its length, so that it is 1; a row of zeros stays."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    found: Features = np.divide(features, lengths, out=features.copy(), where=lengths > 0)
    return found
