"""Errors of a call on their way from a worker to the front: a reason, and the same error again.

What a reason means to a client (a gRPC status) is for `wire.status` to say, of the error.
"""

from __future__ import annotations

from collections.abc import Mapping

from limbeck.errors import EngineError, FeedError, LimbeckError, MemoryLimitError, PackError
from limbeck_server.store.errors import NotFoundError

_REASONS: Mapping[str, type[LimbeckError]] = {
    "INVALID_ARGUMENT": FeedError,
    "NOT_FOUND": NotFoundError,
    "OUT_OF_MEMORY": MemoryLimitError,
    "PACK_DAMAGED": PackError,
    "ENGINE_FAILED": EngineError,
}


def reason_of(error: LimbeckError) -> str:
    """The reason that stands for an error: of the first class above that it is."""
    return next((reason for reason, kind in _REASONS.items() if isinstance(error, kind)), "ENGINE_FAILED")


def error_of(reason: str, message: str) -> LimbeckError:
    """The error that a reason stands for; of an unknown one, an `EngineError`."""
    return _REASONS.get(reason, EngineError)(message)
