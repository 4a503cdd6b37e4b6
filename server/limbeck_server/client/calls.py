"""Calls over a channel: with the token, a deadline and retries; and streams that go on after a broken connection."""

from __future__ import annotations

import os
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from limbeck.errors import ConfigError
from limbeck_server.client.connection import Connection
from limbeck_server.client.errors import ServerError, server_error
from limbeck_server.client.retry import Patience

SLOW_SECONDS = 600.0
"""How long a server may take that has to compile or measure engines first."""

_open: weakref.WeakSet[Calls] = weakref.WeakSet()
"""Those with a channel: a forked process has its parent's here."""


class Calls:
    """The calls of one client. It belongs to the event loop on which it is first used."""

    def __init__(self, connection: Connection) -> None:
        """Nothing is opened yet."""
        self.connection = connection
        self._channel: grpc.aio.Channel | None = None
        self._stubs: dict[Any, Any] = {}
        self._pid = os.getpid()

    def stub(self, kind: Callable[[grpc.aio.Channel], Any]) -> Any:
        """The stub of a service, on the channel, which is opened if it is not.

        Raises:
            ConfigError: A certificate cannot be read; or the parent of this process had a channel open as it forked.
        """
        if self._channel is None:
            _refuse_forked()
            self._channel = self.connection.open()
            self._pid = os.getpid()
            _open.add(self)
        if kind not in self._stubs:
            self._stubs[kind] = kind(self._channel)
        return self._stubs[kind]

    def failed(self, error: grpc.RpcError) -> ServerError:
        """What a call over the channel raised, as an error of limbeck."""
        return server_error(error, self.connection.described())

    def patience(self) -> Patience:
        """As much as a call of this client has."""
        return Patience(self.connection.timeout_seconds)

    async def close(self) -> None:
        """Close the channel; calls that are under way end."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
            self._stubs.clear()
            _open.discard(self)

    async def unary(self, method: Any, request: Any, *, answer_seconds: float | None = None) -> Any:
        """The answer to one request, which must be one that can be repeated.

        Args:
            method: The stub's.
            request: Sent again as it is.
            answer_seconds: How long a server that was reached may take. None: what is left of `timeout_seconds`.

        Raises:
            ServerError: The server refused, or did not answer within the connection's `timeout_seconds`.
        """
        patience = self.patience()
        while True:
            try:
                return await self._once(method, request, answer_seconds or patience.left_seconds)
            except ServerError as error:
                await patience.wait(error)

    async def delete(self, method: Any, request: Any) -> None:
        """A request that removes something. What a repeated request does not find was removed by the one before."""
        patience = self.patience()
        while True:
            try:
                await self._once(method, request, patience.left_seconds)
                return
            except ServerError as error:
                if error.code == "NOT_FOUND" and patience.attempts:
                    return
                await patience.wait(error)

    async def stream(self, method: Any, request: Any) -> AsyncIterator[Any]:
        """The messages of a stream, which is opened again where it breaks.

        Args:
            method: The stub's.
            request: The caller changes it after every message, so that it asks for what comes next.

        Raises:
            ServerError: The server refused, or was away for `timeout_seconds`.
        """
        patience = self.patience()
        while True:
            call = method(request, metadata=self.connection.metadata())
            try:
                async for message in call:
                    patience.renew()
                    yield message
                return
            except grpc.aio.AioRpcError as error:
                await patience.wait(self.failed(error))
            finally:
                call.cancel()

    async def pages(self, method: Any, request: Any) -> AsyncIterator[Any]:
        """The answers of a list, page by page. `request` is changed."""
        while True:
            page = await self.unary(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def _once(self, method: Any, request: Any, timeout_seconds: float) -> Any:
        try:
            return await method(request, timeout=timeout_seconds, metadata=self.connection.metadata())
        except grpc.aio.AioRpcError as error:
            raise self.failed(error) from error


def _refuse_forked() -> None:
    if any(calls._pid != os.getpid() for calls in _open):
        raise ConfigError(
            "this process was forked from one with an open client, and gRPC does not survive that: "
            "close the client before forking, or start processes by spawn or forkserver"
        )
