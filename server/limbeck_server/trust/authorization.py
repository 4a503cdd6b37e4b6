"""The interceptor that lets an RPC in or not, and says below it who called.

It decides by the metadata alone, before a message of the caller is read, and again with every message of a stream.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Protocol

import grpc

from limbeck_server.trust.handlers import Around, EachMessage, Handler, around, is_streaming, refusing
from limbeck_server.trust.identity import ANYBODY, Identity, act_as
from limbeck_server.trust.quotas import Streams, TooManyStreams
from limbeck_server.trust.scopes import needed
from limbeck_server.wire.errors import abort
from limbeck_server.wire.refusal import Refusal

_log = logging.getLogger(__name__)

_NOBODY = Identity("", frozenset())
_RETRY_SECONDS = 5.0
_LONGEST = 100  # of a method's name that a caller may have made up


class Tokens(Protocol):
    """What knows tokens."""

    def identify(self, token: str) -> Identity | None:
        """Whose token that is; None if nobody's."""
        ...


class Authorization(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets callers in by token and scope, within their number of streams.

    Args:
        tokens: Who is who; None lets everybody do everything.
        streams: Counts what is open.
        on_refusal: Told the reason of every refusal.
    """

    def __init__(
        self, tokens: Tokens | None, streams: Streams, *, on_refusal: Callable[[str], None] = lambda reason: None
    ) -> None:
        self._tokens = tokens
        self._streams = streams
        self._on_refusal = on_refusal

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        caller = self._caller(details)
        if isinstance(caller, Refusal):
            _log.info("rpc_refused method=%s reason=%s", details.method[:_LONGEST], caller.reason)
            return refusing(self._refusal(caller))
        handler = await continuation(details)
        if handler is None:
            return handler
        each = self._still_allowed(details) if self._tokens is not None else None
        return around(handler, self._served(caller, is_streaming(handler)), each)

    def _caller(self, details: grpc.HandlerCallDetails) -> Identity | Refusal:
        if self._tokens is None:
            return ANYBODY
        scope = needed(details.method)
        if scope is None:
            return _NOBODY
        token = bearer(details.invocation_metadata)
        identity = self._tokens.identify(token) if token else None
        if identity is None:
            return _unauthenticated(bool(token))
        if scope not in identity.scopes:
            return Refusal(
                grpc.StatusCode.PERMISSION_DENIED,
                "SCOPE_MISSING",
                f"{details.method[:_LONGEST]} needs the scope '{scope}', token '{identity.name}' has "
                f"{', '.join(sorted(identity.scopes))}",
                metadata={"needs": str(scope)},
            )
        return identity

    def _refusal(self, refusal: Refusal) -> Around:
        @asynccontextmanager
        async def enter(context: Any) -> AsyncIterator[None]:
            self._on_refusal(refusal.reason)
            await abort(context, refusal)
            yield

        return enter

    def _still_allowed(self, details: grpc.HandlerCallDetails) -> EachMessage:
        """Streams live for days; that of a token that is revoked meanwhile ends with its next message."""

        async def look(context: Any) -> None:
            caller = self._caller(details)
            if isinstance(caller, Refusal):
                self._on_refusal(caller.reason)
                await abort(context, caller)

        return look

    def _served(self, identity: Identity, streaming: bool) -> Around:
        @asynccontextmanager
        async def enter(context: Any) -> AsyncIterator[None]:
            act_as(identity)
            with ExitStack() as held:
                if streaming:
                    try:
                        held.enter_context(self._streams.one(identity))
                    except TooManyStreams as error:
                        self._on_refusal("TOO_MANY_STREAMS")
                        await abort(context, _too_many(identity, error.limit))
                yield

        return enter


def bearer(metadata: Any) -> str:
    """The token in an RPC's metadata; "" if there is none, or more than one."""
    found = [value for key, value in metadata or () if key.lower() == "authorization"]
    if len(found) != 1 or not isinstance(found[0], str):
        return ""
    kind, _, token = found[0].partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _unauthenticated(token_given: bool) -> Refusal:
    if token_given:
        return Refusal(
            grpc.StatusCode.UNAUTHENTICATED, "TOKEN_UNKNOWN", "the server does not know this token; it may be revoked"
        )
    return Refusal(
        grpc.StatusCode.UNAUTHENTICATED,
        "TOKEN_MISSING",
        "this server asks for a token; send the metadata 'authorization: Bearer TOKEN'",
    )


def _too_many(identity: Identity, limit: int) -> Refusal:
    whose = f"token '{identity.name}' has" if identity.name else "callers without a token have"
    return Refusal(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "TOO_MANY_STREAMS",
        f"{whose} {limit} streams open, as many as allowed; end one, or wait until one ends",
        retry_seconds=_RETRY_SECONDS,
    )
