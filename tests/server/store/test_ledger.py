from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from limbeck_server.store.errors import StoreCorruptError, StoreError, StoreFullError, StoreReadOnlyError
from limbeck_server.store.ledger import APPLICATION_ID, Ledger
from limbeck_server.store.sqlite import SqliteStore
from limbeck_server.store.statements import migrations
from support.disks import files_of_at_most
from support.stores import new_job


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger's file with some jobs in it, closed."""
    path = tmp_path / "ledger.sqlite"
    store = SqliteStore(path)
    for number in range(50):
        new_job(store, spec={"text": f"{number}" * 500})
    store.close()
    return path


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path, lambda: 0.0)
    yield ledger
    ledger.close()


def pragma(ledger: Ledger, name: str) -> object:
    return ledger._connection.execute(f"PRAGMA {name}").fetchone()[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("application_id", APPLICATION_ID)],
)
def test_the_connection_is_set_up_to_lose_nothing(ledger: Ledger, name: str, value: object) -> None:
    assert pragma(ledger, name) == value


def test_every_table_is_strict(ledger: Ledger) -> None:
    tables = ledger._connection.execute(
        "SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    assert tables
    assert [name for name, strict in tables if not strict] == []


def test_an_error_inside_a_change_undoes_all_of_it(ledger: Ledger) -> None:
    def broken() -> None:
        with ledger.change():
            ledger.run("beat", now=1.0)
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        broken()
    assert ledger._connection.execute("SELECT count(*) FROM pulse").fetchone()[0] == 0


class TestMigrations:
    def test_a_new_ledger_has_the_newest_version(self, ledger: Ledger) -> None:
        assert pragma(ledger, "user_version") == len(migrations())

    def test_a_ledger_remembers_the_files_that_made_it(self, ledger: Ledger) -> None:
        applied = [(row["version"], row["digest"]) for row in ledger.rows("applied_migrations")]
        assert applied == [(migration.version, migration.digest) for migration in migrations()]

    def test_a_newer_ledger_is_refused(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 900")
        with pytest.raises(
            StoreError, match=r"is a ledger of version 900; this limbeck knows versions up to \d+\. A newer"
        ):
            SqliteStore(path)

    def test_a_ledger_made_by_other_migrations_is_refused(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE migration SET digest = 'feed'")
        with pytest.raises(
            StoreError, match=r"was made with another 0001_ledger\.sql than this limbeck has: feed… there"
        ):
            SqliteStore(path)

    def test_a_migration_that_cannot_be_finished_leaves_an_empty_file(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.sqlite"
        with pytest.raises(StoreReadOnlyError), files_of_at_most(20_000):
            SqliteStore(path)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0


class TestDamage:
    @pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
    def test_flipped_bytes_are_found_when_it_is_opened(self, path: Path, where: float) -> None:
        content = bytearray(path.read_bytes())
        begin = int(len(content) * where) // 4096 * 4096
        content[begin : begin + 64] = bytes(255 - byte for byte in content[begin : begin + 64])
        path.write_bytes(content)
        with pytest.raises(StoreCorruptError, match="is damaged"):
            SqliteStore(path)

    def test_a_damaged_file_stays_as_it_is(self, path: Path) -> None:
        content = path.read_bytes()[:-5000]
        path.write_bytes(content)
        with pytest.raises(StoreCorruptError):
            SqliteStore(path)
        assert path.read_bytes() == content

    def test_a_file_that_is_no_database_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.sqlite"
        path.write_bytes(b"not a database " * 1000)
        with pytest.raises(StoreCorruptError, match="is damaged: file is not a database"):
            SqliteStore(path)

    def test_another_programs_database_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE bookmark (url TEXT)")
        with pytest.raises(StoreCorruptError, match="no ledger of limbeck"):
            SqliteStore(path)

    def test_damage_that_is_met_later_is_said(self, path: Path) -> None:
        store = SqliteStore(path)
        content = path.read_bytes()
        path.write_bytes(content[:8192] + bytes(len(content) - 8192))
        store._ledger._connection.execute("PRAGMA shrink_memory")  # as if other pages had taken the cache since
        with pytest.raises(StoreCorruptError):
            store.jobs(limit=1000)
        store.close()


class TestDisk:
    def test_a_disk_that_refuses_writing_is_said_and_changes_nothing(self, path: Path) -> None:
        store = SqliteStore(path)
        before = store.counts()
        with (
            files_of_at_most(1000),
            pytest.raises(StoreReadOnlyError, match=r"the disk refuses .*; nothing was changed"),
        ):
            new_job(store)
        assert store.counts() == before
        store.close()

    def test_the_check_sees_a_disk_that_refuses_writing(self, path: Path) -> None:
        store = SqliteStore(path)
        with files_of_at_most(1000), pytest.raises(StoreReadOnlyError):
            store.check()
        store.check()
        store.close()

    def test_a_ledger_that_may_only_be_read_is_said(self, ledger: Ledger) -> None:
        ledger._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreReadOnlyError, match="attempt to write a readonly database"), ledger.change():
            ledger.run("beat", now=1.0)

    def test_a_full_disk_changes_nothing(self, path: Path) -> None:
        store = SqliteStore(path)
        connection = store._ledger._connection
        connection.execute(f"PRAGMA max_page_count = {pragma(store._ledger, 'page_count')}")
        before = store.counts()
        with pytest.raises(StoreFullError, match=r"is full; nothing was changed\. Make space"):
            new_job(store, spec={"text": "x" * 100_000})
        assert store.counts() == before
        store.close()

    def test_a_place_that_cannot_have_a_write_ahead_log_is_refused(self) -> None:
        with pytest.raises(
            StoreError, match=r"cannot have a write-ahead log .*'memory'.*; put the folder on a local disk"
        ):
            SqliteStore(Path(":memory:"))

    def test_a_folder_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(StoreReadOnlyError, match="unable to open database file"):
            SqliteStore(tmp_path / "nowhere" / "ledger.sqlite")
