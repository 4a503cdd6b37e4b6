"""Reads of the ledger that many wait for at the same time, made once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from limbeck_server.store.base import Store
from limbeck_server.store.threaded import ThreadedStore

T = TypeVar("T")


class SharedReads(Generic[T]):
    """Gives all who ask the same before a read begins what that read finds.

    Whoever asks after it has begun gets another one: nobody is given what was true before they asked.
    """

    def __init__(self, store: ThreadedStore) -> None:
        """Read from `store`."""
        self._store = store
        self._waiting: dict[Hashable, asyncio.Task[T]] = {}

    async def read(self, key: Hashable, call: Callable[[Store], T]) -> T:
        """What `call` finds in the ledger; equal keys mean equal calls."""
        if key not in self._waiting:
            self._waiting[key] = asyncio.create_task(self._read(key, call))
        # whoever stops waiting does not stop it for the others
        return await asyncio.shield(self._waiting[key])

    async def _read(self, key: Hashable, call: Callable[[Store], T]) -> T:
        def begin(store: Store) -> T:
            self._waiting.pop(key)
            return call(store)

        try:
            return await self._store.run(begin)
        finally:
            if self._waiting.get(key) is asyncio.current_task():  # the store is closed, and the read never began
                del self._waiting[key]
