"""Errors on the wire: what the library and the ledger raise becomes a `Refusal`, and a refusal a gRPC status.

A status has a canonical code, a message for people, and details (`google.rpc`): ErrorInfo with the reason, BadRequest
with the fields that are wrong, RetryInfo where repeating the call can help.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from limbeck import errors as library
from limbeck_server.store import errors as store
from limbeck_server.wire.refusal import DOMAIN, Code, Refusal, RefusedError, RequestError, Violation

logger = logging.getLogger(__name__)

DETAILS_KEY = "grpc-status-details-bin"
"""The metadata key under which gRPC carries a status' details."""

# Clients take 8 KiB of metadata, and a status is said twice in it: as gRPC's message and in the details.
_MESSAGE_NBYTES = 768
_MAX_VIOLATIONS = 8
_FIELD_NBYTES = 100
_DESCRIPTION_NBYTES = 220
_METADATA_NBYTES = 120


@dataclass(frozen=True)
class _Kind:
    """How a class of errors is said. `retry_seconds` is set where the same call may succeed later."""

    error: type[library.LimbeckError]
    code: Code
    reason: str
    retry_seconds: float | None = None


# A class stands before those that it inherits from.
_KINDS = (
    _Kind(store.NotFoundError, Code.NOT_FOUND, "NOT_FOUND"),
    _Kind(store.RequestConflictError, Code.ALREADY_EXISTS, "REQUEST_CONFLICT"),
    _Kind(store.QuotaError, Code.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", 30),
    _Kind(store.NotFinishedError, Code.FAILED_PRECONDITION, "JOB_NOT_FINAL"),
    _Kind(store.InUseError, Code.FAILED_PRECONDITION, "IN_USE"),
    _Kind(store.LeaseLostError, Code.ABORTED, "LEASE_LOST"),
    _Kind(store.StoreFullError, Code.UNAVAILABLE, "DISK_FULL", 30),
    _Kind(store.StoreReadOnlyError, Code.UNAVAILABLE, "DISK_READ_ONLY", 30),
    _Kind(store.StoreCorruptError, Code.DATA_LOSS, "LEDGER_CORRUPT"),
    _Kind(store.ImageTakenError, Code.INTERNAL, "METHOD_FAULT"),
    _Kind(store.StoreError, Code.UNAVAILABLE, "LEDGER_UNAVAILABLE", 5),
    _Kind(library.BudgetError, Code.FAILED_PRECONDITION, "BUDGET_TOO_SMALL"),
    _Kind(library.ConfigError, Code.INVALID_ARGUMENT, "CONFIG_ERROR"),
    _Kind(library.DataError, Code.INVALID_ARGUMENT, "DATA_ERROR"),
    _Kind(library.PackError, Code.FAILED_PRECONDITION, "PACK_ERROR"),
    _Kind(library.FeedError, Code.INVALID_ARGUMENT, "FEED_ERROR"),
    _Kind(library.BackendUnavailableError, Code.FAILED_PRECONDITION, "BACKEND_UNAVAILABLE"),
    _Kind(library.MemoryLimitError, Code.RESOURCE_EXHAUSTED, "OUT_OF_MEMORY"),
    _Kind(library.EngineError, Code.INTERNAL, "ENGINE_ERROR"),
    _Kind(library.OutputError, Code.UNAVAILABLE, "OUTPUT_ERROR", 30),
    _Kind(library.EndpointError, Code.UNAVAILABLE, "ENDPOINT_ERROR", 30),
    _Kind(library.Interrupted, Code.CANCELLED, "INTERRUPTED"),
    _Kind(library.LimbeckError, Code.INTERNAL, "LIMBECK_ERROR"),
)

_FIGURES = ("needed_nbytes", "budget_nbytes", "largest_part")
"""Attributes of errors that go along as ErrorInfo's metadata."""


def refusal_of(error: BaseException) -> Refusal:
    """How an error is said to a client.

    Of anything that limbeck did not raise on purpose, the client learns only an id, under which the log has all of it.
    """
    if isinstance(error, RefusedError):
        return error.refusal
    kind = next((kind for kind in _KINDS if isinstance(error, kind.error)), None)
    if kind is None:
        return _unexpected(error)
    return Refusal(
        code=kind.code,
        reason=kind.reason,
        message=str(error),
        violations=error.violations if isinstance(error, RequestError) else (),
        retry_seconds=kind.retry_seconds,
        metadata={name: str(getattr(error, name)) for name in _FIGURES if hasattr(error, name)},
    )


def status_of(refusal: Refusal) -> status_pb2.Status:
    """A refusal as `google.rpc.Status`, cut to what a client takes."""
    metadata = {name: cut(text, _METADATA_NBYTES) for name, text in refusal.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=metadata)
    details: list[Any] = [info]
    if refusal.violations:
        details.append(error_details_pb2.BadRequest(field_violations=_told(refusal)))
    if refusal.retry_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(refusal.retry_seconds * 1e9))
        details.append(retry)
    return status_pb2.Status(
        code=refusal.code.value[0], message=cut(refusal.message, _MESSAGE_NBYTES), details=map(_packed, details)
    )


def refusal_from(status: status_pb2.Status) -> Refusal:
    """The refusal that a status says; the reason is empty if it is none of limbeck's."""
    info, bad, retry = (
        _unpacked(status, kind)
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)
    )
    return Refusal(
        code=code_of(status.code),
        reason=info.reason if info is not None and info.domain == DOMAIN else "",
        message=status.message,
        violations=tuple(Violation(one.field, one.description) for one in bad.field_violations) if bad else (),
        retry_seconds=retry.retry_delay.ToNanoseconds() / 1e9 if retry else None,
        metadata=dict(info.metadata) if info else {},
    )


def code_of(number: int) -> Code:
    """The canonical code of a number on the wire; UNKNOWN for one that is none."""
    return next((code for code in Code if code.value[0] == number), Code.UNKNOWN)


def cut(text: str, nbytes: int) -> str:
    """The beginning of a text that takes at most `nbytes` in UTF-8, with … where something is missing."""
    encoded = text.encode()
    if len(encoded) <= nbytes:
        return text
    return encoded[: nbytes - 3].decode(errors="ignore") + "…"


def _told(refusal: Refusal) -> list[Mapping[str, str]]:
    shown = refusal.violations[:_MAX_VIOLATIONS]
    return [
        {"field": cut(one.field, _FIELD_NBYTES), "description": cut(one.description, _DESCRIPTION_NBYTES)}
        for one in shown
    ]


def _unexpected(error: BaseException) -> Refusal:
    mark = uuid4().hex[:12]
    logger.error("rpc_failed id=%s", mark, exc_info=error)
    return Refusal(
        code=Code.INTERNAL,
        reason="INTERNAL",
        message=f"an internal error; the server's log has it as id={mark}",
        metadata={"id": mark},
    )


def _packed(detail: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _unpacked(status: status_pb2.Status, kind: Any) -> Any:
    for detail in status.details:
        if detail.Is(kind.DESCRIPTOR):
            found = kind()
            detail.Unpack(found)
            return found
    return None
