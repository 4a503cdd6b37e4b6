"""Reads that are shared: few for many, and none that is older than who asks."""

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.services.shared import SharedReads
from limbeck_server.store.base import Store
from limbeck_server.store.errors import NotFoundError, StoreError
from support.serving import ID, make_job, run, serving


def test_all_who_ask_at_once_share_one_read(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as backing:
            reads = SharedReads[int](backing.store)
            made: list[None] = []

            def read(store: Store) -> int:
                made.append(None)
                return len(store.jobs()[0])

            assert await asyncio.gather(*(reads.read("jobs", read) for _ in range(50))) == [0] * 50
            assert len(made) == 1

    run(test())


def test_a_read_finds_what_was_there_when_it_was_asked(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as backing:
            reads = SharedReads[int](backing.store)

            async def ask(number: int) -> None:
                await backing.do(lambda store: make_job(store, number=number))
                assert await reads.read("jobs", lambda store: len(store.jobs(limit=1000)[0])) > number

            for number in range(0, 60, 20):
                await asyncio.gather(*(ask(number) for _ in range(20)))

    run(test())


def test_an_error_reaches_everybody_who_asked(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as backing:
            reads = SharedReads[object](backing.store)
            asked = [reads.read("job", lambda store: store.job(ID)) for _ in range(3)]
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(one) for one in found] == [NotFoundError] * 3

    run(test())


def test_who_stops_waiting_takes_nothing_from_the_others(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as backing:
            reads = SharedReads[int](backing.store)
            first, second = (asyncio.create_task(reads.read("jobs", lambda store: len(store.jobs()[0]))) for _ in "ab")
            await asyncio.sleep(0)
            first.cancel()
            assert await second == 0

    run(test())


def test_a_closed_store_is_said_each_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as backing:
            reads = SharedReads[int](backing.store)
            await backing.store.close()
            for _ in range(2):
                with pytest.raises(StoreError, match="closed"):
                    await reads.read("jobs", lambda store: 0)

    run(test())
