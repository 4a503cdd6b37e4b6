"""Which rows share the next run of an engine. Pure: nothing here waits or runs.

    waiting    A: 10 rows    B: 3 rows (another engine)    C: 10 rows        bucket 16
    batches    A 0..10, C 0..6    then    B 0..3    then    C 6..10, and whoever has come since

The call that waits longest decides what runs; all that may run with it fill the bucket in the order in which they
came. So no call waits for ever, and a call larger than the bucket does not hold up the others longer than a run.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol


class Waiting(Protocol):
    """A call of which some rows have not been run."""

    @property
    def key(self) -> Hashable:
        """Calls of equal keys may share a run."""
        ...

    @property
    def next_row(self) -> int:
        """The first row that has not been run."""
        ...

    @property
    def num_rows(self) -> int:
        """All its rows."""
        ...


@dataclass(frozen=True)
class Share:
    """Rows `start` to `stop` of the call at `index` among those that wait."""

    index: int
    start: int
    stop: int

    @property
    def num_rows(self) -> int:
        """How many rows that are."""
        return self.stop - self.start


def next_batch(waiting: Sequence[Waiting], bucket: int) -> tuple[Share, ...]:
    """The rows of the next run: at most `bucket`, of the first call that waits and of those that may run with it."""
    shares: list[Share] = []
    room = bucket
    for index, call in enumerate(waiting):
        if room and call.key == waiting[0].key:
            stop = min(call.num_rows, call.next_row + room)
            shares.append(Share(index, call.next_row, stop))
            room -= stop - call.next_row
    return tuple(shares)
