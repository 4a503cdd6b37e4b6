"""Errors of a call on their way from a worker to the front: a reason, and the same error again.

What an error means to a client is for `wire.status` to say, whose words the reasons are.
"""

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

_ENGINE_ERROR = "ENGINE_ERROR"

# a class stands before those that it inherits from
_REASONS: Mapping[str, type[LimbeckError]] = {
    "NOT_FOUND": NotFoundError,
    "PACK_ERROR": PackError,
    "FEED_ERROR": FeedError,
    "BACKEND_UNAVAILABLE": BackendUnavailableError,
    "OUT_OF_MEMORY": MemoryLimitError,
    _ENGINE_ERROR: EngineError,
}


def reason_of(error: LimbeckError) -> str:
    """The reason that stands for an error; of a kind that calls do not know, that of an `EngineError`."""
    return next((reason for reason, kind in _REASONS.items() if isinstance(error, kind)), _ENGINE_ERROR)


def error_of(reason: str, message: str) -> LimbeckError:
    """The error that a reason stands for; of an unknown one, an `EngineError`."""
    return _REASONS.get(reason, EngineError)(message)
