"""A refusal on the wire: a code, and details that programs read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN = "limbeck"


@dataclass(frozen=True)
class Refusal:
    """Why an RPC is not served.

    Args:
        code: The canonical code.
        reason: UPPER_SNAKE_CASE, for programs.
        message: For people.
        metadata: What the reason is about, for programs.
        retry_seconds: After which time another try may go through; None if never.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_seconds: float | None = None


async def abort(context: grpc.aio.ServicerContext[Any, Any], refusal: Refusal) -> NoReturn:
    """End an RPC with a refusal and its google.rpc details."""
    status = status_pb2.Status(code=refusal.code.value[0], message=refusal.message)
    info = error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=refusal.metadata)
    status.details.add().Pack(info)
    if refusal.retry_seconds is not None:
        delay = Duration()
        delay.FromMilliseconds(round(1000 * refusal.retry_seconds))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    rich = rpc_status.to_status(status)
    await context.abort(rich.code, rich.details, rich.trailing_metadata)
    raise AssertionError("abort raises")
