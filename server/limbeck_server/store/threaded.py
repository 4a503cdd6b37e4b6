"""The store beside an event loop: its calls on one thread of their own, and word of which job has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from limbeck_server.store.base import Store
from limbeck_server.store.errors import StoreError

T = TypeVar("T")


class ThreadedStore:
    """A store whose calls do not hold up the event loop. Made, used and closed within one running loop."""

    def __init__(self, store: Store) -> None:
        """Take `store` over: from now on it is called by this object alone, which closes it."""
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._thread: ThreadPoolExecutor | None = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._changed: dict[str, None] = {}
        self._subscribers: dict[str, set[asyncio.Event]] = {}
        store.on_change(self._note)

    async def run(self, call: Callable[[Store], T]) -> T:
        """What `call` makes of the store; calls are made one after another, in the order in which they came.

        Several calls of the store inside `call` are not one transaction, but no other call comes between them. Whoever
        stops waiting stops nothing: a call that has begun comes to its end, one that has not is not made.

        Raises:
            StoreError: The store is closed, and whatever `call` raises.
        """
        if self._thread is None:
            raise StoreError("the ledger is closed: the server is ending; try again when it is back")
        return await self._loop.run_in_executor(self._thread, self._run, call)

    @asynccontextmanager
    async def subscribe(self, job: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the job's events have grown, or the job was deleted.

        Clear it before reading, wait for it after: a change between the two is then not missed.
        """
        event = asyncio.Event()
        self._subscribers.setdefault(job, set()).add(event)
        try:
            yield event
        finally:
            others = self._subscribers[job]
            others.remove(event)
            if not others:
                del self._subscribers[job]

    async def close(self) -> None:
        """Close the store when the calls that were made have ended. Closing twice is once."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await self._loop.run_in_executor(thread, self._store.close)
            thread.shutdown()

    def _run(self, call: Callable[[Store], T]) -> T:
        try:
            return call(self._store)
        finally:
            if self._changed:
                changed, self._changed = self._changed, {}
                self._loop.call_soon_threadsafe(self._wake, changed)

    def _note(self, job: str) -> None:
        self._changed[job] = None

    def _wake(self, jobs: dict[str, None]) -> None:
        for job in jobs:
            for event in self._subscribers.get(job, ()):
                event.set()
