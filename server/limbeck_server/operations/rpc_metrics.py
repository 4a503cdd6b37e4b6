"""The interceptor that measures every RPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import grpc

from limbeck_server.operations.metrics import Metrics
from limbeck_server.trust.handlers import Handler, around


class RpcMetrics(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Measures how long RPCs take and how they end. The outermost interceptor, so that it sees refusals.

    Args:
        metrics: Where to.
        methods: Full names that are told apart; callers can make up any others, which count as "other".
    """

    def __init__(self, metrics: Metrics, methods: Collection[str]) -> None:
        self._metrics = metrics
        self._methods = methods

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        name = details.method if details.method in self._methods else "other"
        if handler is None:
            self._metrics.rpc_done(name, "UNIMPLEMENTED", 0.0)
            return handler

        @asynccontextmanager
        async def measured(context: Any) -> AsyncIterator[None]:
            started = time.perf_counter()
            code = "UNKNOWN"
            try:
                yield
                code = _code(context)
            except grpc.aio.AbortError:
                code = _code(context)
                raise
            except (asyncio.CancelledError, GeneratorExit):
                code = "CANCELLED"
                raise
            finally:
                self._metrics.rpc_done(name, code, time.perf_counter() - started)

        return around(handler, measured)


def _code(context: Any) -> str:
    code = context.code()
    return code.name if code else "OK"
