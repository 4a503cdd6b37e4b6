"""Every exception of every service becomes a status with details, in one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc

from limbeck_server.services.requests import read_carefully
from limbeck_server.trust.handlers import around
from limbeck_server.wire.errors import errors_told


class ErrorInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Ends calls whose handlers raise with what `wire.status` says of the exception. The innermost interceptor.

    Requests that are too long, or no messages, reach no handler.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(handler_call_details)
        return handler and around(read_carefully(handler_call_details.method, handler), errors_told)
