"""An event loop on a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from types import AsyncGeneratorType
from typing import Any, TypeVar, cast

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for other threads, until it is closed."""

    def __init__(self) -> None:
        """Start it."""
        self._loop = asyncio.new_event_loop()
        # A daemon: a program that forgets to close its client ends all the same.
        self._thread = threading.Thread(target=self._loop.run_forever, name="limbeck-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end, and give what comes of it. Ctrl-C in the calling thread cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """The items as they come; the generator behind them is closed with this one."""
        try:
            while True:
                try:
                    yield self.run(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            if not self._loop.is_closed():
                self.run(_close(cast("AsyncGeneratorType[T, None]", items)))

    def close(self) -> None:
        """Cancel what runs, and end the thread."""
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _close(items: AsyncGeneratorType[T, None]) -> None:
    while items.ag_running:  # Ctrl-C has cancelled its last step, which has yet to end
        await asyncio.sleep(0.001)
    await items.aclose()


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)
