"""Random real images: the baseline that every method has to beat.

For each class, one random order of its images is drawn, and the first `ipc` of it are taken: a smaller set is the
beginning of a larger one with the same seed.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from limbeck.data.base import ImageSource
from limbeck.methods.base import Progress
from limbeck.methods.shared.selection import Selection
from limbeck.models import Models
from limbeck.randomness import generator


@dataclass(frozen=True, kw_only=True)
class RandomReal(Selection):
    """Random real images, without replacement."""

    name: ClassVar[str] = "random"

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The same: there is nothing to repair."""
        return cls(ipc=ipc, seed=seed)

    def chosen(self, class_id: int, source: ImageSource, models: Models) -> Generator[Progress, None, Sequence[int]]:
        count = len(source.names(class_id))
        order = generator(self.seed, source.class_names[class_id], 0, "order").permutation(count)
        yield Progress("draw", class_id + 1, len(source.class_names))
        return [int(position) for position in order[: self.ipc]]
