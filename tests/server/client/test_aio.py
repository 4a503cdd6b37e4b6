"""The client for asyncio, and both clients in one process."""

from __future__ import annotations

import asyncio
import logging
import pickle

import pytest

pytest.importorskip("grpc", reason="the client extra is not installed")

from limbeck_server.client import AsyncClient, Client, Job
from support.served import Served


def test_many_watchers_share_a_connection(server: Served, done: Job) -> None:
    async def watch(client: AsyncClient) -> list[int]:
        return [event.sequence async for event in client.watch(done)]

    async def test() -> None:
        async with AsyncClient(server.address) as client:
            found = await asyncio.gather(*(watch(client) for _ in range(50)))
        assert found == [list(range(1, done.sequence + 1))] * 50

    asyncio.run(test())


def test_a_stream_that_is_left_leaves_nothing_behind(server: Served, done: Job) -> None:
    async def test() -> None:
        async with AsyncClient(server.address) as client:
            async for image in client.images(done):
                assert image.number == 1
                break
            assert (await client.job(done)).name == done.name

    asyncio.run(test())


def test_a_call_can_be_cancelled(server: Served) -> None:
    async def test() -> None:
        async with AsyncClient("127.0.0.1:1") as client:
            call = asyncio.create_task(client.server_info())
            await asyncio.sleep(0.1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(test())


def test_a_client_that_was_used_by_one_loop_is_used_by_the_next(server: Served, done: Job) -> None:
    client = AsyncClient(server.address)

    async def test() -> None:
        async with client:
            assert (await client.job(done)).name == done.name

    asyncio.run(test())
    asyncio.run(test())


def test_both_clients_work_at_once_without_a_word(server: Served, done: Job, caplog: pytest.LogCaptureFixture) -> None:
    async def test(sync: Client) -> None:
        async with AsyncClient(server.address) as client:
            for _ in range(20):
                pair = (client.job(done), asyncio.to_thread(sync.job, done))
                assert [job.name for job in await asyncio.gather(*pair)] == [done.name] * 2

    with caplog.at_level(logging.WARNING), Client(server.address) as sync:
        asyncio.run(test(sync))
    assert caplog.messages == []


def test_it_is_pickled_as_its_settings() -> None:
    client = AsyncClient("gpu:1", token="secret")
    assert pickle.loads(pickle.dumps(client)).connection == client.connection
