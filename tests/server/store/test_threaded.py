from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from limbeck_server.store.base import Store
from limbeck_server.store.errors import NotFoundError, StoreError
from limbeck_server.store.sqlite import SqliteStore
from limbeck_server.store.threaded import ThreadedStore
from support.stores import new_job, succeeded_job

SECONDS = 30
"""After which a test that hangs is ended."""

Test = Callable[[ThreadedStore], Coroutine[Any, Any, None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Test], None]:
    """Runs a test in a loop of its own, with a store in it."""

    async def whole(test: Test) -> None:
        async with opened(tmp_path) as store, asyncio.timeout(SECONDS):
            await test(store)

    return lambda test: asyncio.run(whole(test))


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[ThreadedStore]:
    store = ThreadedStore(SqliteStore(folder / "ledger.sqlite"))
    try:
        yield store
    finally:
        await store.close()


def test_a_call_gives_what_the_store_gives(run: Callable[[Test], None]) -> None:
    async def test(store: ThreadedStore) -> None:
        job = await store.run(new_job)
        assert await store.run(lambda ledger: ledger.job(job.id)) == job

    run(test)


def test_a_call_raises_what_the_store_raises(run: Callable[[Test], None]) -> None:
    async def test(store: ThreadedStore) -> None:
        with pytest.raises(NotFoundError, match="there is no job"):
            await store.run(lambda ledger: ledger.job("0" * 32))

    run(test)


def test_all_calls_are_made_on_one_thread_that_is_not_the_loops(run: Callable[[Test], None]) -> None:
    async def test(store: ThreadedStore) -> None:
        threads = await asyncio.gather(*(store.run(lambda ledger: threading.get_ident()) for _ in range(20)))
        assert len(set(threads)) == 1
        assert threads[0] != threading.get_ident()

    run(test)


def test_a_slow_call_does_not_hold_up_the_loop(run: Callable[[Test], None]) -> None:
    async def test(store: ThreadedStore) -> None:
        gate = threading.Event()
        slow = asyncio.create_task(store.run(lambda ledger: gate.wait(SECONDS)))
        await asyncio.sleep(0)
        gate.set()  # reached although the call has not ended
        assert await slow

    run(test)


def test_who_stops_waiting_does_not_stop_a_call_that_has_begun(run: Callable[[Test], None]) -> None:
    async def test(store: ThreadedStore) -> None:
        begun, gate = threading.Event(), threading.Event()

        def slow(ledger: Store) -> None:
            begun.set()
            gate.wait(SECONDS)
            new_job(ledger)

        waiting = asyncio.create_task(store.run(slow))
        await asyncio.to_thread(begun.wait, SECONDS)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.set()
        assert len((await store.run(lambda ledger: ledger.jobs()))[0]) == 1

    run(test)


def test_closing_waits_for_the_calls_that_were_made(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as store:
            calls = [asyncio.create_task(store.run(new_job)) for _ in range(10)]
            await asyncio.sleep(0)
            await store.close()
            assert len({job.id for job in await asyncio.gather(*calls)}) == 10

    asyncio.run(test())


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as store:
            await store.close()
            with pytest.raises(StoreError, match="the ledger is closed"):
                await store.run(new_job)

    asyncio.run(test())


class TestSubscribing:
    def test_a_change_of_the_job_is_told(self, run: Callable[[Test], None]) -> None:
        async def test(store: ThreadedStore) -> None:
            job = await store.run(new_job)
            async with store.subscribe(job.id) as changed:
                await store.run(lambda ledger: ledger.set_waiting(job.id, "DISK_FULL"))
                await changed.wait()

        run(test)

    def test_a_change_of_another_job_is_not_told(self, run: Callable[[Test], None]) -> None:
        async def test(store: ThreadedStore) -> None:
            mine, other = await store.run(new_job), await store.run(new_job)
            async with store.subscribe(mine.id) as changed, store.subscribe(other.id) as others:
                await store.run(lambda ledger: ledger.request_cancel(other.id))
                await others.wait()
                assert not changed.is_set()

        run(test)

    def test_a_deleted_job_is_told(self, run: Callable[[Test], None]) -> None:
        async def test(store: ThreadedStore) -> None:
            job = await store.run(lambda ledger: ledger.request_cancel(new_job(ledger).id))
            async with store.subscribe(job.id) as changed:
                await store.run(lambda ledger: ledger.delete_job(job.id))
                await changed.wait()

        run(test)

    def test_a_change_is_told_even_if_the_rest_of_the_call_fails(self, run: Callable[[Test], None]) -> None:
        async def test(store: ThreadedStore) -> None:
            job = await store.run(new_job)

            def half(ledger: Store) -> None:
                ledger.request_cancel(job.id)
                ledger.job("0" * 32)

            async with store.subscribe(job.id) as changed:
                with pytest.raises(NotFoundError):
                    await store.run(half)
                await changed.wait()

        run(test)

    def test_who_has_gone_is_forgotten(self, run: Callable[[Test], None]) -> None:
        async def test(store: ThreadedStore) -> None:
            async with store.subscribe("a"), store.subscribe("a"):
                pass
            assert store._subscribers == {}

        run(test)

    def test_two_hundred_watchers_each_see_every_event_once(self, run: Callable[[Test], None]) -> None:
        async def watch(store: ThreadedStore, job: str, num_events: int) -> list[int]:
            seen: list[int] = []
            async with store.subscribe(job) as changed:
                while len(seen) < num_events:
                    changed.clear()
                    new = await store.run(partial(SqliteStore.events, job=job, after=len(seen)))
                    seen += [event.sequence for event in new]
                    if not new:
                        await changed.wait()
            return seen

        async def test(store: ThreadedStore) -> None:
            job = await store.run(new_job)
            watchers = [asyncio.create_task(watch(store, job.id, 31)) for _ in range(200)]
            for number in range(30):
                await store.run(partial(SqliteStore.add_event, job=job.id, kind="note", detail={"number": number}))
            assert await asyncio.gather(*watchers) == [list(range(1, 32))] * 200

        run(test)


def test_a_whole_job_fits_into_one_call(run: Callable[[Test], None]) -> None:
    async def test(store: ThreadedStore) -> None:
        job = await store.run(succeeded_job)
        assert job.distilled_set

    run(test)
