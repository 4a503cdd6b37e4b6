"""What was computed once and may be asked for again, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from limbeck.arrays import Array

Key = TypeVar("Key", bound=Hashable)


class RowTable(Generic[Key]):
    """Rows of arrays by key; beyond `nbytes` the least recently used go first, but never the newest."""

    def __init__(self, nbytes: int) -> None:
        """Start empty."""
        self._limit = nbytes
        self._used = 0
        self._rows: OrderedDict[Key, dict[str, Array]] = OrderedDict()

    def get(self, key: Key) -> dict[str, Array] | None:
        """The row of `key`, None if it is not there (any more)."""
        if key in self._rows:
            self._rows.move_to_end(key)
        return self._rows.get(key)

    def put(self, key: Key, row: dict[str, Array]) -> None:
        """Remember a row of a key that is not there; its arrays must own their memory to be counted right."""
        self._rows[key] = row
        self._used += sum(array.nbytes for array in row.values())
        while self._used > self._limit and len(self._rows) > 1:
            _, old = self._rows.popitem(last=False)
            self._used -= sum(array.nbytes for array in old.values())
