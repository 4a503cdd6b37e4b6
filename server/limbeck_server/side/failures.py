"""Errors of a side process on their way to the front: there they refuse a call just as they would have here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from limbeck_server.wire.refusal import Refusal, RefusedError, Violation
from limbeck_server.wire.status import refusal_of


def told(error: Exception) -> dict[str, Any]:
    """An error as JSON values."""
    refusal = refusal_of(error)
    return {
        "code": refusal.code.name,
        "reason": refusal.reason,
        "message": plain(refusal.message),
        "violations": [[plain(one.field), plain(one.description)] for one in refusal.violations],
        "retry_seconds": refusal.retry_seconds,
        "metadata": {name: plain(value) for name, value in refusal.metadata.items()},
    }


def raised_again(error: Mapping[str, Any]) -> RefusedError:
    """What `told` said of an error, as an error."""
    return RefusedError(
        Refusal(
            code=grpc.StatusCode[error["code"]],
            reason=error["reason"],
            message=error["message"],
            violations=tuple(Violation(*one) for one in error["violations"]),
            retry_seconds=error["retry_seconds"],
            metadata=error["metadata"],
        )
    )


def plain(text: str) -> str:
    """A text that can be encoded: what is not UTF-8 in a file's name is written as `\\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode()
