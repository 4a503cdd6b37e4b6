"""What every request to the page goes through: who asks, for which host; what a browser may do then.

The page has no cookies and changes nothing, so nothing can be done in somebody's name. What is left to do: keep
strangers out (tokens), keep other sites from reading it through the operator's own browser (the Host header, no
framing, no embedding), and keep hostile names from becoming code (templates escape, the policy allows ours only).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from limbeck_server.trust.authorization import Tokens
from limbeck_server.trust.identity import ANYBODY, Identity, Scope

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

IDENTITY = web.RequestKey("identity", Identity)
OPEN_PATHS = frozenset({"/healthz"})

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def guard(tokens: Tokens | None, *, local: bool) -> Any:
    """The middleware.

    Args:
        tokens: Who is who; None lets everybody read everything.
        local: Whether the page is served to this machine only. Without tokens, a request must then name it by address
            or as localhost: a site whose name somebody else made to mean 127.0.0.1 is refused.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return _refused(405, "this page is for reading; use GET", {"Allow": "GET, HEAD"})
        if tokens is None and local and not _names_this_machine(request.host):
            return _refused(421, "ask for this page by the machine's address or as localhost")
        identity = ANYBODY if tokens is None else _identify(tokens, request.headers.get("Authorization", ""))
        if request.path not in OPEN_PATHS and (identity is None or Scope.READ not in identity.scopes):
            return _refused(
                401,
                "this page asks for a token: any user name, and the token as the password",
                {"WWW-Authenticate": 'Basic realm="limbeck", charset="UTF-8"'},
            )
        if identity is not None:
            request[IDENTITY] = identity
        return await handler(request)

    return middleware


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add `HEADERS`, where a handler has not said otherwise; for `Application.on_response_prepare`."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "limbeck"


def _identify(tokens: Tokens, authorization: str) -> Identity | None:
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "bearer":
        return tokens.identify(value.strip())
    if kind.lower() != "basic":
        return None
    try:
        _, _, token = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return tokens.identify(token)


def _names_this_machine(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _refused(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text + "\n", headers=headers)
