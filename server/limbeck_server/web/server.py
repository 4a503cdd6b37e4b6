"""The HTTP server under the pages."""

from __future__ import annotations

import ssl
from typing import Self

from aiohttp import web

from limbeck.errors import ConfigError
from limbeck_server.trust.exposure import host_of
from limbeck_server.web.pages import Pages

_SHUTDOWN_SECONDS = 1.0


class HttpServer:
    """Serves pages at an address. Use it by `async with`; then `address` says where, with the port if 0 was asked.

    Args:
        pages: What is served.
        address: "host:port".
        tls: With which certificate; None serves plain HTTP.
        idle_seconds: A connection that sends nothing for so long, or half a request, is closed.

    Raises:
        ConfigError: The address is taken, or not one of this machine's.
    """

    def __init__(
        self, pages: Pages, address: str, *, tls: ssl.SSLContext | None = None, idle_seconds: float = 20.0
    ) -> None:
        self.address = address
        self._tls = tls
        self._runner = web.AppRunner(
            pages.application(), access_log=None, keepalive_timeout=idle_seconds, shutdown_timeout=_SHUTDOWN_SECONDS
        )

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        host, port = host_of(self.address), int(self.address.rpartition(":")[2])
        try:
            await web.TCPSite(self._runner, host, port, ssl_context=self._tls).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(f"cannot serve pages at {self.address}: {error.strerror or error}") from error
        port = self._runner.addresses[0][1]
        self.address = f"{self.address.rpartition(':')[0]}:{port}"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()
