"""What a server says of its own state beside the answer to GetServerInfo, for `limbeck doctor --server`."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from limbeck_server.operations.state import ServerState
from limbeck_server.trust.handlers import Handler, around

METHOD = "/limbeck.v1.ServerService/GetServerInfo"
TIME, CONDITIONS, DISK_FREE = "limbeck-time", "limbeck-conditions", "limbeck-disk-free-nbytes"
"""Trailing metadata: seconds since 1970 by the server's clock; conditions with commas; free space for its folder."""


class ServerFacts(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Sends the facts with the answer. Inside of `Authorization`: they are for callers that may read.

    Args:
        state: What keeps the server from serving.
        root: The server's folder.
        clock: Seconds since 1970.
    """

    def __init__(self, state: ServerState, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._state = state
        self._root = root
        self._clock = clock

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        return around(handler, self._told) if handler is not None and details.method == METHOD else handler

    @asynccontextmanager
    async def _told(self, context: Any) -> AsyncIterator[None]:
        yield
        facts = {
            TIME: f"{self._clock():.3f}",
            CONDITIONS: ",".join(sorted(self._state.reasons)),
            DISK_FREE: str(shutil.disk_usage(self._root).free),
        }
        context.set_trailing_metadata(tuple(facts.items()))
