"""What a call to a server can end in, as errors of limbeck.

    ServerError             9   the server said no, or something else went wrong there
    ├── UnreachableError        it did not answer in time, however often it was asked
    ├── DeniedError             it wants a token, or one that may do more
    ├── BusyError               it has no room now: a quota, a full queue
    ├── RequestError        2   it cannot do what was asked; `violations` names the fields
    ├── MissingError        2   it has nothing of that name
    ├── StateError              what was asked does not fit how things stand
    └── JobError                a job that was waited for has failed or was cancelled

`reason` is a word for programs, the message is for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import grpc

from limbeck.errors import LimbeckError
from limbeck_server.wire.errors import remote_error
from limbeck_server.wire.refusal import Code, Refusal, Violation

__all__ = [
    "BusyError",
    "DeniedError",
    "JobError",
    "MissingError",
    "RequestError",
    "ServerError",
    "StateError",
    "UnreachableError",
    "Violation",
]


class ServerError(LimbeckError):
    """The server refused a call, or failed in it."""

    exit_code = 9

    def __init__(self, refusal: Refusal) -> None:
        """Keep what the server said."""
        self._refusal = refusal
        super().__init__(refusal.message)

    @property
    def code(self) -> str:
        """The canonical code, such as "NOT_FOUND"."""
        return str(self._refusal.code.name)

    @property
    def reason(self) -> str:
        """A word in UPPER_SNAKE_CASE; "" if what answered is no server of limbeck's."""
        return self._refusal.reason

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The fields of the request that cannot work."""
        return tuple(self._refusal.violations)

    @property
    def retry_seconds(self) -> float | None:
        """When the same call may succeed; None if repeating it does not help."""
        return self._refusal.retry_seconds

    @property
    def metadata(self) -> Mapping[str, str]:
        """Figures of the message, by name."""
        return self._refusal.metadata

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed in a moment."""
        if self.retry_seconds is not None:
            return True
        code = self._refusal.code
        # To gRPC, a connection that breaks within a stream is one of these; a server of limbeck's says a reason.
        broken = code in (Code.CANCELLED, Code.UNKNOWN, Code.INTERNAL) and not self.reason
        return broken or code is Code.UNAVAILABLE

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self._refusal,))


class UnreachableError(ServerError):
    """The server did not answer in time, however often it was asked.

    gRPC says the same of a certificate that is not trusted, so the message says how the server was asked.
    """


class DeniedError(ServerError):
    """The server wants a token, or one that may do more."""


class BusyError(ServerError):
    """The server has no room for this now."""


class RequestError(ServerError):
    """The server cannot do what was asked."""

    exit_code = 2


class MissingError(ServerError):
    """The server has nothing of that name, or nothing that the caller may see."""

    exit_code = 2


class StateError(ServerError):
    """What was asked does not fit how things stand."""


class JobError(ServerError):
    """A job that was waited for has failed or was cancelled."""


_KINDS: Mapping[Code, type[ServerError]] = {
    Code.UNAVAILABLE: UnreachableError,
    Code.DEADLINE_EXCEEDED: UnreachableError,
    Code.UNAUTHENTICATED: DeniedError,
    Code.PERMISSION_DENIED: DeniedError,
    Code.RESOURCE_EXHAUSTED: BusyError,
    Code.INVALID_ARGUMENT: RequestError,
    Code.OUT_OF_RANGE: RequestError,
    Code.NOT_FOUND: MissingError,
    Code.ALREADY_EXISTS: StateError,
    Code.FAILED_PRECONDITION: StateError,
    Code.ABORTED: StateError,
}


def server_error(error: grpc.RpcError, asked: str) -> ServerError:
    """What a call raised, as an error of limbeck.

    Args:
        error: What it raised.
        asked: How the server was asked (`Connection.described`), which is said where none has answered.
    """
    refusal = remote_error(error).refusal
    if refusal.code is Code.UNAVAILABLE and not refusal.reason:
        refusal = replace(refusal, message=f"{refusal.message}; {asked}")
    return _KINDS.get(refusal.code, ServerError)(refusal)


def data_loss(message: str) -> ServerError:
    """Bytes that came are not those that were sent."""
    return ServerError(Refusal(Code.DATA_LOSS, "DIGEST_MISMATCH", message))
