from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import limbeck_server.store
from limbeck_server.store.statements import Migration, migrations, queries

SOURCES = "".join(path.read_text() for path in Path(limbeck_server.store.__path__[0]).glob("*.py"))


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.version for migration in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_migration_is_cut_into_its_statements() -> None:
    sql = "-- a; b\nCREATE TABLE x (\n    y TEXT -- c;\n);\n\nINSERT INTO x VALUES (';');\n"
    found = list(Migration(1, "0001_x.sql", sql).statements())
    assert [statement.split()[-1] for statement in found] == [");", "(';');"]


def test_a_migrations_digest_is_of_its_text() -> None:
    assert Migration(1, "a", "x").digest != Migration(1, "a", "y").digest


@pytest.mark.parametrize("name", queries())
def test_every_statement_fits_the_tables(name: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in migrations():
            connection.executescript(migration.sql)
        sql = queries()[name]
        connection.execute(f"EXPLAIN {sql}", dict.fromkeys(re.findall(r":(\w+)", sql)))


@pytest.mark.parametrize("name", queries())
def test_every_statement_is_used(name: str) -> None:
    assert f'"{name}"' in SOURCES
