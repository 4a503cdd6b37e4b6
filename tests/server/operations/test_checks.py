"""What the checks notice of a real ledger, a real disk and the clock."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("prometheus_client", reason="the server extra is not installed")

from limbeck_server.operations.checks import Checks
from limbeck_server.operations.metrics import Metrics
from limbeck_server.operations.state import Condition, ServerState
from limbeck_server.store.errors import StoreCorruptError, StoreError, StoreReadOnlyError
from limbeck_server.store.sqlite import SqliteStore
from limbeck_server.store.threaded import ThreadedStore
from support.disks import tiny_disk  # noqa: F401 - a fixture
from support.echo import run
from support.stores import new_job


class Ailing(SqliteStore):
    """A ledger that has the illness that a test gives it."""

    illness: StoreError | None = None

    def check(self) -> None:
        if self.illness:
            raise self.illness
        super().check()


@asynccontextmanager
async def checked(folder, *, num_workers=lambda: 1, **options):
    """A ledger in a folder, its state and metrics, and the checks."""
    ledger = Ailing(folder / "ledger.sqlite")
    store = ThreadedStore(ledger)
    state, metrics = ServerState(), Metrics()
    state.leave(Condition.STARTING)
    try:
        yield ledger, state, metrics, Checks(store, state, metrics, root=folder, num_workers=num_workers, **options)
    finally:
        await store.close()


def test_a_healthy_server_is_in_no_condition_and_its_jobs_are_counted(tmp_path):
    async def main():
        async with checked(tmp_path) as (ledger, state, metrics, checks):
            new_job(ledger)
            await checks.look()
            assert state.reasons == {}
            assert b'limbeck_jobs{state="pending"} 1.0' in metrics.text()

    run(main)


def test_a_full_disk_is_noticed_and_so_is_its_end(tiny_disk):  # noqa: F811
    async def main():
        async with checked(tiny_disk) as (_, state, metrics, checks):
            filler = tiny_disk / "filler"
            filler.write_bytes(bytes(shutil.disk_usage(tiny_disk).free))
            while Condition.DISK_FULL not in state.reasons:
                await checks.look()
            assert "full" in state.reasons[Condition.DISK_FULL]
            assert b'limbeck_condition{condition="disk_full"} 1.0' in metrics.text()
            assert b"limbeck_disk_free_bytes 0.0" in metrics.text()
            filler.unlink()
            await checks.look()
            assert state.reasons == {}

    run(main)


@pytest.mark.parametrize(
    ("illness", "condition"),
    [
        (StoreReadOnlyError("the disk refuses"), Condition.DISK_READ_ONLY),
        (StoreCorruptError("page 3 is damaged"), Condition.LEDGER_CORRUPT),
        (StoreError("something else"), Condition.LEDGER_FAILING),
    ],
)
def test_a_ledger_that_fails_gives_the_condition_that_says_how(tmp_path, illness, condition):
    async def main():
        async with checked(tmp_path) as (ledger, state, metrics, checks):
            ledger.illness = illness
            await checks.look()
            assert state.reasons == {condition: str(illness)}
            assert f'limbeck_store_errors_total{{reason="{condition.name}"}} 1.0'.encode() in metrics.text()
            ledger.illness = None
            await checks.look()
            assert state.reasons == {}

    run(main)


def test_one_illness_takes_the_place_of_another(tmp_path):
    async def main():
        async with checked(tmp_path) as (ledger, state, _, checks):
            ledger.illness = StoreReadOnlyError("first")
            await checks.look()
            ledger.illness = StoreCorruptError("second")
            await checks.look()
            assert set(state.reasons) == {Condition.LEDGER_CORRUPT}

    run(main)


def test_a_worker_that_is_recycled_is_missed_only_when_it_stays_away(tmp_path):
    alive = [0]

    async def main():
        async with checked(tmp_path, num_workers=lambda: alive[0]) as (_, state, _, checks):
            await checks.look()
            assert state.reasons == {}
            await checks.look()
            await checks.look()
            assert set(state.reasons) == {Condition.NO_WORKERS}
            alive[0] = 1
            await checks.look()
            assert state.reasons == {}

    run(main)


@pytest.mark.parametrize("jump", [-86400.0, 3600.0])
def test_a_clock_that_is_set_is_counted_and_is_no_condition(tmp_path, jump):
    now = [1e9]

    async def main():
        async with checked(tmp_path, wall_clock=lambda: now[0]) as (_, state, metrics, checks):
            await checks.look()
            now[0] += jump
            await checks.look()
            await checks.look()
            assert b"limbeck_clock_jumps_total 1.0" in metrics.text()
            assert state.reasons == {}

    run(main)
