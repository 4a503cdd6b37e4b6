"""The ledger in one SQLite file, for a server on one machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from limbeck_server.store.datasets import DatasetTables, SetTables
from limbeck_server.store.jobs import JobTables
from limbeck_server.store.ledger import Ledger
from limbeck_server.store.units import UnitTables


class SqliteStore(JobTables, UnitTables, DatasetTables, SetTables):
    """A `Store` in an SQLite file with a write-ahead log, synced at each commit. Its calls come one at a time."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Open the ledger, or make it.

        Args:
            path: The file. Its folder exists.
            clock: Seconds since 1970, for people; nothing is decided by it.

        Raises:
            StoreCorruptError: The file is damaged, or no ledger; it stays as it is.
            StoreReadOnlyError: It cannot be opened for writing.
            StoreFullError: There is no space to make it.
            StoreError: A newer limbeck wrote it, or one with other migrations.
        """
        super().__init__(Ledger(path, clock), clock)

    def check(self) -> None:
        with self._ledger.change():
            self._ledger.run("beat", now=self._clock())

    def close(self) -> None:
        self._ledger.close()
