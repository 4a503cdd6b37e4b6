"""The end of a server that was asked to end: nothing new, what runs stops at a step, and then exit.

SIGTERM ── health says NOT_SERVING, new calls are refused as UNAVAILABLE
        ── workers stop at the end of a step, and their leases are freed       (within the deadline)
        ── open calls get a moment, then they end as UNAVAILABLE; clients resume elsewhere, or later
        ── exit code 0
again   ── exit at once; the ledger stands that too
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from limbeck_server.operations.state import Condition, ServerState
from limbeck_server.trust.handlers import Handler, refusing
from limbeck_server.wire.errors import abort
from limbeck_server.wire.refusal import Refusal

_log = logging.getLogger(__name__)

_CALLS_SECONDS = 1.0
_HEALTH = "/grpc.health.v1.Health/"


class Drain:
    """One server's end.

    Args:
        deadline_seconds: How long workers may take to reach the end of a step.
        state: Told that the server ends.
    """

    def __init__(self, deadline_seconds: float, state: ServerState) -> None:
        self._deadline_seconds = deadline_seconds
        self._state = state
        self._begun = asyncio.Event()

    def listen(self) -> None:
        """Begin at SIGTERM or SIGINT; exit at once at the second."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)

    def begin(self, reason: str) -> None:
        """The server ends from now on. A second call changes nothing."""
        self._state.enter(Condition.DRAINING, reason)
        self._begun.set()

    async def begun(self) -> None:
        """Wait until it begins."""
        await self._begun.wait()

    async def carry_out(
        self, *, stop_workers: Callable[[], Awaitable[None]], servers: Sequence[grpc.aio.Server]
    ) -> bool:
        """Stop workers, then calls; whether the workers came to the end of their steps in time.

        Args:
            stop_workers: Returns when every worker has stopped and its leases are freed. It is cancelled at the
                deadline; workers that still run are then killed by the end of this process.
            servers: Stopped after that.
        """
        started = time.monotonic()
        in_time = True
        try:
            await asyncio.wait_for(stop_workers(), self._deadline_seconds)
        except TimeoutError:
            in_time = False
            _log.warning("drain_late deadline_seconds=%g lost=steps_since_the_last_checkpoint", self._deadline_seconds)
        await asyncio.gather(*(server.stop(_CALLS_SECONDS) for server in servers))
        _log.info("drained seconds=%.1f in_time=%s", time.monotonic() - started, in_time)
        return in_time

    def _signalled(self, number: signal.Signals) -> None:
        if self._begun.is_set():
            _log.warning("exit_at_once signal=%s", number.name)
            os._exit(128 + number)
        _log.info("drain_begun signal=%s deadline_seconds=%g", number.name, self._deadline_seconds)
        self.begin(f"the server got {number.name} and ends")


class DrainGate(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses new calls, other than health's, while the server ends."""

    def __init__(self, state: ServerState, *, retry_seconds: float = 5.0) -> None:
        self._state = state
        self._refusal = Refusal(
            grpc.StatusCode.UNAVAILABLE,
            "DRAINING",
            "the server ends; what it has acknowledged is kept, try again when it is back",
            retry_seconds=retry_seconds,
        )

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        if self._state.draining and not details.method.startswith(_HEALTH):
            return refusing(self._refuse)
        return await continuation(details)

    @asynccontextmanager
    async def _refuse(self, context: Any) -> AsyncIterator[None]:
        await abort(context, self._refusal)
        yield
