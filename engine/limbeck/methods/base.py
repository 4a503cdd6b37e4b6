"""What a method is: a frozen dataclass of hyper-parameters and a generator over work units.

A method owns no model, file, device, thread or progress bar. It is given a source and `Models`, and yields events.
The runner may stop between any two events (Ctrl-C ends at the next step), and it stores a unit when its images
come; what a long unit says of its state in between is stored too, and given back when a killed run is resumed. A
unit's result depends on `(seed, class, index)` and the bucket alone: not on which units ran before it, nor
on which shared its batches. That is what lets a method fill a batch across units, and a killed run continue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, TypeAlias

from numpy.typing import NDArray

from limbeck.arrays import Images
from limbeck.data.base import ImageSource
from limbeck.memory.work import Work
from limbeck.models import Models, Part

State: TypeAlias = Mapping[str, NDArray[Any]]
"""What a unit that is under way has to remember, as named arrays."""

NO_STATES: Mapping[int, State] = MappingProxyType({})
"""No unit is under way."""


@dataclass(frozen=True)
class Unit:
    """The atom of scheduling, retry and resume: some classes of a source, for most methods one.

    Args:
        index: Position in `Method.units`.
        class_ids: The classes whose images this unit makes.
    """

    index: int
    class_ids: tuple[int, ...]


@dataclass(frozen=True)
class Progress:
    """One step was made: `done` of `total` in this stage."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class DistilledImages:
    """A finished unit.

    Args:
        unit: Which.
        images: Shape (n, 3, height, width), in [0, 1].
        class_ids: The label of each image.
        rows: What the manifest says of each image beside its label and file: seed, index, …
        arrays: What was made beside images, such as a classifier; stored with the set, under names that no other unit
            has.
    """

    unit: Unit
    images: Images
    class_ids: tuple[int, ...]
    rows: tuple[Mapping[str, object], ...] = field(default=())
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A long unit's state; when it is given back, the unit continues from here, bit for bit.

    Args:
        unit: Which.
        state: Named arrays, enough to continue.
    """

    unit: Unit
    state: State


Event = Progress | Checkpoint | DistilledImages


class Method(Protocol):
    """A distillation algorithm with its hyper-parameters."""

    name: ClassVar[str]
    needs: ClassVar[AbstractSet[Part]]
    """The networks that it uses; the pack must have them, and only they are opened."""

    @property
    def ipc(self) -> int:
        """Images per class."""
        ...

    @property
    def seed(self) -> int:
        """With class name and index, fixes an image."""
        ...

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse what could only fail later: a class with too few images, a pack without a part this method needs.

        Raises:
            ConfigError, DataError, PackError: With what would work.
        """
        ...

    def warm_up(self) -> None:
        """Import and use once, on next to nothing, what the method uses beside networks, so that its memory is known.

        Called before memory is limited: a library that is refused its buffers may end the process.
        """
        ...

    def work(self, source: ImageSource, models: Models) -> Work:
        """How much there is to do, for the planner; no network runs."""
        ...

    def units(self, source: ImageSource) -> Sequence[Unit]:
        """The whole work, in order."""
        ...

    def distill(
        self,
        units: Sequence[Unit],
        source: ImageSource,
        models: Models,
        *,
        resume: Mapping[int, State] = NO_STATES,
    ) -> Iterator[Event]:
        """Make these units; each ends in one `DistilledImages`, in the order of `units`.

        `resume` has the state of the last `Checkpoint` of units that were under way, by `Unit.index`.
        """
        ...
