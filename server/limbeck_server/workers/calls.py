"""What the front asks of workers between and beside jobs: direct calls, and which engines are loaded for them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

from limbeck_server.engines.front import CallWorker, WorkerLostError
from limbeck_server.rpc import worker_pb2
from limbeck_server.workers.handle import WorkerHandle


class PoolCalls:
    """The way to the workers for direct calls; an `engines.front.WorkerLink`.

    Args:
        handles: The workers that there are, by id; the pool's own.
    """

    def __init__(self, handles: Mapping[str, WorkerHandle]) -> None:
        """Nothing is asked yet."""
        self._handles = handles
        self._changes = itertools.count(1)

    def call_workers(self) -> list[CallWorker]:
        """Those that take direct calls."""
        return [CallWorker(one.worker, frozenset(one.engines)) for one in self._handles.values() if one.answers]

    async def call(self, worker: str, call: worker_pb2.Call) -> worker_pb2.CallAnswered:
        """A worker's answer.

        Raises:
            WorkerLostError: It is gone.
        """
        handle = self._answering(worker)
        future: asyncio.Future[worker_pb2.CallAnswered] = asyncio.get_running_loop().create_future()
        handle.calls[call.id] = future
        handle.tell(call=call)
        try:
            return await future
        except asyncio.CancelledError:
            handle.tell(call_cancelled=worker_pb2.CallCancelled(id=call.id))
            raise
        finally:
            handle.calls.pop(call.id, None)

    async def change_engine(self, worker: str, *, pack: str, role: str, load: bool) -> worker_pb2.EnginesLoaded:
        """Load or unload an engine of a worker; the answer says why it failed, if it did.

        Raises:
            WorkerLostError: The worker is gone.
        """
        handle, number = self._answering(worker), next(self._changes)
        future: asyncio.Future[worker_pb2.EnginesLoaded] = asyncio.get_running_loop().create_future()
        handle.changes[number] = future
        handle.tell(engine_change=worker_pb2.EngineChange(id=number, pack=pack, role=role, load=load))
        try:
            return await future
        finally:
            handle.changes.pop(number, None)

    def _answering(self, worker: str) -> WorkerHandle:
        handle = self._handles.get(worker)
        if handle is None or not handle.answers:
            raise WorkerLostError(f"worker {worker} is gone")
        return handle


def answer(waiting: Mapping[int, asyncio.Future[Any]], said: Any) -> None:
    """Give what a worker said to whoever waits for it, if somebody does."""
    future = waiting.get(said.id)
    if future is not None and not future.done():
        future.set_result(said)
