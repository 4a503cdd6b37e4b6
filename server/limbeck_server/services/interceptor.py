"""Every exception of every service becomes a status with details, in one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import grpc

from limbeck_server.services.requests import read_carefully
from limbeck_server.trust.handlers import around
from limbeck_server.wire.errors import errors_told


class ErrorInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Ends calls whose handlers raise with what `wire.status` says of the exception. The innermost interceptor.

    Requests that are too long, or no messages, reach no handler.

    Args:
        root: The server's folder, of which messages say nothing.
    """

    def __init__(self, root: Path) -> None:
        """Keep the folder."""
        self._told = partial(errors_told, root=root)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(handler_call_details)
        return handler and around(read_carefully(handler_call_details.method, handler), self._told)
