"""Coroutines on a thread of their own, and Ctrl-C in the thread that waits for them."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.client.loop import LoopThread


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Ctrl-C, also where a shell has told this process to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_closes_a_generator_whose_last_step_takes_a_while_to_end() -> None:
    ended = threading.Event()

    async def items() -> AsyncIterator[int]:
        try:
            yield 0
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            ended.set()

    loop = LoopThread()
    try:
        iterator = loop.iterate(items())
        assert next(iterator) == 0
        threading.Timer(0.1, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            next(iterator)
        assert ended.is_set()
    finally:
        loop.close()
