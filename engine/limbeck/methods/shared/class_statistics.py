"""Mean and spread of the noised latents of each class: measured in one pass, stored with the set, read again.

They do not depend on how many images a class is to have. Measuring them is nearly all that D3HR computes, so that
another number of images is drawn from those that a set has.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Latents
from limbeck.data.base import ImageSource
from limbeck.data.distilled import DistilledSet, read_distilled
from limbeck.data.layout import ARRAYS
from limbeck.errors import DataError
from limbeck.methods.base import Progress
from limbeck.models import Models
from limbeck_kernels.moments import Moments

Vector = NDArray[np.float64]

COPIES = 4
"""How many times the statistics of all classes are held while a set that keeps them is written."""


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """Of the flat latents of a class.

    Args:
        mean: Shape (dimensions,).
        std: Shape (dimensions,), unbiased.
    """

    mean: Vector
    std: Vector

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[Any]], class_name: str) -> Self:
        """What `arrays` of this class kept."""
        mean, std = (arrays[name] for name in _names(class_name))
        return cls(mean, std)

    def arrays(self, class_name: str) -> dict[str, Vector]:
        """As they are stored, by names that no other class has."""
        return dict(zip(_names(class_name), (self.mean, self.std), strict=True))


def measured(batches: Iterable[Latents | Progress]) -> Generator[Progress, None, ClassStatistics]:
    """The statistics of a class, of which one batch is held at a time.

    Args:
        batches: Its noised latents, at least one; the progress of making them is passed on.
    """
    moments: Moments | None = None
    for part in batches:
        if isinstance(part, Progress):
            yield part
            continue
        found = Moments.of(part.reshape(len(part), -1))
        moments = found if moments is None else moments.merged(found)
    assert moments is not None, "a class without an image has no statistics"
    return ClassStatistics(moments.mean, np.sqrt(moments.variance))


def stored_statistics(file: str) -> DistilledSet:
    """The set whose statistics a file has.

    Args:
        file: `arrays.npz` of a set.

    Raises:
        DataError: It is not there, or not of a distilled set.
    """
    path = Path(file)
    if path.name != ARRAYS or not path.is_file():
        raise DataError(f"statistics={file} is no {ARRAYS} of a set that d3hr made; give FOLDER/{ARRAYS}")
    return read_distilled(path.parent)


def refuse_other_origin(
    made: DistilledSet, settings: Mapping[str, object], source: ImageSource, models: Models
) -> None:
    """Refuse statistics of other images, of other networks, or of another walk, and a set that has none.

    Args:
        made: The set that has them.
        settings: Of the method, those that decide the statistics, and its name.
        source: The images that they must be of. All are read, to be compared.
        models: The networks that they must be of.

    Raises:
        DataError: What they are of, and what was asked for.
    """
    said = made.manifest.model_extra or {}
    anew = "leave statistics out, and they are measured anew"
    of_method, of_engines = said.get("method", {}), said.get("engines", {})
    # the decoder comes after the statistics
    roles = sorted({*of_engines, *models.engines} - {"decoder"})
    compared = [
        *((name, of_method.get(name), wanted) for name, wanted in settings.items()),
        *((role, of_engines.get(role), models.engines.get(role)) for role in roles),
    ]
    for name, found, wanted in compared:
        if found != wanted:
            raise DataError(f"the statistics of {made.folder} were measured with {name}={found}, not {wanted}; {anew}")
    if made.class_names != source.class_names or _content(said.get("source", {})) != _content(source.describe()):
        raise DataError(f"the statistics of {made.folder} are of other images than these; {anew}")
    if missing := {name for class_name in made.class_names for name in _names(class_name)} - {*made.arrays()}:
        raise DataError(f"{made.folder} has no {sorted(missing)[0]} in {ARRAYS}; {anew}")


def _content(described: Mapping[str, object]) -> dict[str, object]:
    """What a source says of its images, wherever they lie."""
    return {name: value for name, value in described.items() if name != "location"}


def _names(class_name: str) -> tuple[str, str]:
    return f"mean {class_name}", f"std {class_name}"
