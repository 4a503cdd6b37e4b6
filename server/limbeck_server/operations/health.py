"""grpc.health.v1, told by the server's state."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from limbeck_server.operations.state import SERVICES, ServerState

_Status = health_pb2.HealthCheckResponse


class Health:
    """Says for every service whether it is served, and says it again when that changes. Use it by `async with`.

    Args:
        state: What keeps the server from serving.
    """

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._servicer = health.aio.HealthServicer()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve it, before the server starts."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def __aenter__(self) -> Self:
        await self._publish()
        self._state.on_change(self._changed.set)
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._publish()

    async def _publish(self) -> None:
        for service in SERVICES:
            served = self._state.serves(service)
            await self._servicer.set(service, _Status.SERVING if served else _Status.NOT_SERVING)
