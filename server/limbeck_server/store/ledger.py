"""The connection to the ledger's file: how it is opened, changed and read, and what its errors mean.

What a transaction has changed is on the disk when `change` ends (a write-ahead log, synced at each commit), or nothing
of it is.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limbeck.durable import sync_folder
from limbeck_server.store.errors import StoreCorruptError, StoreError, StoreFullError, StoreReadOnlyError
from limbeck_server.store.statements import Migration, migrations, queries

APPLICATION_ID = 0x4C494D42
"""What SQLite's header says of the file: "LIMB"."""

_BUSY_SECONDS = 30.0
_log = logging.getLogger(__name__)


class Ledger:
    """An open ledger, of one thread at a time."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Open the file, or make it; check it and bring its tables up to date.

        Args:
            path: The file. Its folder exists.
            clock: Seconds since 1970.

        Raises:
            StoreCorruptError: The file is damaged, or no ledger; it stays as it is.
            StoreError: A newer limbeck wrote it, or one with other migrations.
        """
        self.path = path
        self._sql = queries()
        with self._explained():
            # the front's calls come from one thread, which is not always the one that opened the file
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        try:
            with self._explained():
                self._connection.row_factory = sqlite3.Row
                self._check_file()
                self._keep_log()
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA foreign_keys = ON")
            self._migrate(clock)
            sync_folder(path.parent)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """A transaction: everything inside is on the disk when this ends, or, after an error, nothing of it."""
        with self._transaction("BEGIN IMMEDIATE"):
            yield
            self._connection.execute("COMMIT")

    @contextmanager
    def look(self) -> Iterator[None]:
        """Several statements that read, on the ledger as it is at one moment."""
        with self._transaction("BEGIN"):
            yield

    def run(self, query: str, **values: Any) -> None:
        """Run a statement that gives no rows."""
        with self._explained():
            self._connection.execute(self._sql[query], values)

    def rows(self, query: str, **values: Any) -> list[sqlite3.Row]:
        """All rows that a statement gives."""
        with self._explained():
            return self._connection.execute(self._sql[query], values).fetchall()

    def row(self, query: str, **values: Any) -> sqlite3.Row | None:
        """The first row that a statement gives."""
        found = self.rows(query, **values)
        return found[0] if found else None

    def value(self, query: str, **values: Any) -> Any:
        """The first value of the row that a statement surely gives."""
        found = self.rows(query, **values)
        return found[0][0]

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        """What is not committed inside is undone."""
        with self._explained():
            self._connection.execute(begin)
            try:
                yield
            finally:
                if self._connection.in_transaction:  # some errors have ended it
                    self._connection.execute("ROLLBACK")

    def _pragma(self, name: str) -> Any:
        return self._connection.execute(f"PRAGMA {name}").fetchone()[0]

    def _keep_log(self) -> None:
        if (mode := self._pragma("journal_mode = WAL")) != "wal":
            raise StoreError(
                f"{self.path} cannot have a write-ahead log (SQLite offers {mode!r}): its file system shares no memory "
                "between processes, as network file systems do; put the folder on a local disk"
            )

    def _check_file(self) -> None:
        verdict = self._pragma("quick_check(1)")
        if verdict != "ok":
            raise StoreCorruptError(self._damaged(verdict))
        tables = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables and self._pragma("application_id") != APPLICATION_ID:
            raise StoreCorruptError(f"{self.path} is an SQLite file, but no ledger of limbeck; name another folder")

    def _migrate(self, clock: Callable[[], float]) -> None:
        known = migrations()
        with self.change():
            version = self._pragma("user_version")
            if version > len(known):
                raise StoreError(
                    f"{self.path} is a ledger of version {version}; this limbeck knows versions up to {len(known)}. "
                    "A newer limbeck wrote it: use that one, or another folder"
                )
            if version:
                self._check_applied(known[:version])
            for migration in known[version:]:
                for statement in migration.statements():
                    self._connection.execute(statement)
                self._sign(migration, clock())

    def _check_applied(self, known: tuple[Migration, ...]) -> None:
        applied = [(row["name"], row["digest"]) for row in self.rows("applied_migrations")]
        for (name, digest), migration in zip(applied, known, strict=True):
            if digest != migration.digest:
                raise StoreError(
                    f"{self.path} was made with another {name} than this limbeck has: {digest[:12]}… there, "
                    f"{migration.digest[:12]}… here. Use the limbeck that made it, or another folder"
                )

    def _sign(self, migration: Migration, now: float) -> None:
        self.run("insert_migration", version=migration.version, name=migration.name, digest=migration.digest, now=now)
        self._connection.execute(f"PRAGMA user_version = {migration.version}")
        self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        _log.info("ledger_migrated path=%s migration=%s", self.path, migration.name)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite's errors into the store's."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._store_error(error) from error

    def _store_error(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", 0)
        kind = code & 0xFF
        if code == sqlite3.SQLITE_IOERR_CORRUPTFS or kind in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return StoreCorruptError(self._damaged(str(error)))
        if kind == sqlite3.SQLITE_FULL:
            return StoreFullError(f"the disk of {self.path} is full; nothing was changed. Make space and try again")
        if kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            return StoreReadOnlyError(
                f"the disk refuses {self.path}: {error}; nothing was changed. "
                "Make the folder writable, or mend the disk"
            )
        return StoreError(f"{self.path}: {error}")

    def _damaged(self, verdict: str) -> str:
        return (
            f"{self.path} is damaged: {verdict}\nnothing in it was changed. Restore a backup of the whole folder, or "
            f"save what can be read with: sqlite3 {self.path.name} .recover"
        )
