"""Errors of a call on their way from a worker to the front: a reason, and the same error again."""

from __future__ import annotations

from collections.abc import Mapping

from limbeck.errors import (
    BackendUnavailableError,
    EngineError,
    FeedError,
    LimbeckError,
    MemoryLimitError,
    PackError,
)
from limbeck_server.store.errors import NotFoundError
from limbeck_server.wire.status import refusal_of

_ERRORS: Mapping[str, type[LimbeckError]] = {
    "NOT_FOUND": NotFoundError,
    "PACK_ERROR": PackError,
    "FEED_ERROR": FeedError,
    "BACKEND_UNAVAILABLE": BackendUnavailableError,
    "OUT_OF_MEMORY": MemoryLimitError,
}


def reason_of(error: LimbeckError) -> str:
    """The word that stands for an error of any kind, as clients get it."""
    return refusal_of(error).reason


def error_of(reason: str, message: str) -> LimbeckError:
    """What a call failed with; an `EngineError` where that is nothing that the caller can act on."""
    return _ERRORS.get(reason, EngineError)(message)
