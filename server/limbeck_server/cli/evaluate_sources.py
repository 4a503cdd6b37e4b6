"""The images of an evaluation: distilled, real to train on, real to test on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from limbeck.data.classes import refuse_other_classes
from limbeck.data.source import open_source
from limbeck.data.stored import StoredSource


@dataclass(frozen=True)
class Sources:
    """What is compared, opened; no image is read.

    Args:
        distilled: Sets that differ in their seed only; one or more.
        train: The real training images, if they were given.
        test: The real test images.
        name: Of the first set, to call the others by.
    """

    distilled: Sequence[StoredSource]
    train: StoredSource | None
    test: StoredSource
    name: str

    @property
    def real(self) -> StoredSource:
        """The real training images, of a protocol that cannot be without."""
        assert self.train is not None, "the command has refused to be without --train"
        return self.train

    @classmethod
    def open(cls, distilled: Sequence[Path], train: str | None, test: str) -> Self:
        """Open them all.

        Raises:
            DataError: Something is not there, or the classes are others.
        """
        sets = [open_source(place) for place in distilled]
        real = None if train is None else open_source(train)
        tested = open_source(test)
        named = {str(place): source.class_names for place, source in zip(distilled, sets, strict=True)}
        if real is not None:
            named[f"--train {train}"] = real.class_names
        refuse_other_classes({**named, f"--test {test}": tested.class_names})
        return cls(sets, real, tested, distilled[0].name)
