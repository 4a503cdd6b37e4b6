"""The ledger's SQL, which lies in `.sql` files beside this module.

A file of `queries/` has any number of statements, each below a line `-- name: what_it_is_called`. A file of
`migrations/` is called `0001_what_it_does.sql` and is run once, whole.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_MIGRATION = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True)
class Migration:
    """One step in the life of the ledger's tables.

    Args:
        version: 1, 2, 3, … without a gap.
        name: Its file's.
        sql: Its statements.
    """

    version: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        """SHA-256 of its text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statements(self) -> Iterator[str]:
        """Its statements, one by one: sqlite3's own `executescript` would end the transaction around it."""
        statement = ""
        for line in self.sql.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                yield statement
                statement = ""


def migrations() -> tuple[Migration, ...]:
    """Every migration that this build has, in order."""
    found = [
        Migration(int(named[1]), entry.name, entry.read_text(encoding="utf-8"))
        for entry in files(__package__).joinpath("migrations").iterdir()
        if (named := _MIGRATION.fullmatch(entry.name))
    ]
    return tuple(sorted(found, key=lambda migration: migration.version))


def queries() -> Mapping[str, str]:
    """Every statement of `queries/` by its name."""
    found: dict[str, str] = {}
    for entry in files(__package__).joinpath("queries").iterdir():
        _, *parts = _HEADING.split(entry.read_text(encoding="utf-8"))
        for name, sql in zip(parts[::2], parts[1::2], strict=True):
            assert name not in found, f"two statements are called {name}"
            found[name] = sql.strip()
    return found
