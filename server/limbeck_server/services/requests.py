"""What comes over the wire, before it is a message: how long it may be, and what cannot be read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from limbeck_server.wire.refusal import Code, Refusal, RefusedError

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

CONTROL_NBYTES = 256 * 2**10
"""The most that a request takes that carries no data: a spec with the names of some thousand classes."""

_WITH_DATA = (
    "/limbeck.v1.DatasetService/UploadDataset",
    "/limbeck.v1.InferenceService/",
    "/inference.GRPCInferenceService/",
)


@dataclass(frozen=True)
class _Refused:
    """Stands for a request that was not read."""

    refusal: Refusal


def read_carefully(method: str, handler: Handler) -> Handler:
    """The same handler for requests that are short enough to be asked for and can be read; others are refused.

    A request is refused by its length before it is unpacked: a message of some megabytes can be a million objects.
    """
    read = handler.request_deserializer
    limit = None if method.startswith(_WITH_DATA) else CONTROL_NBYTES

    def deserialize(content: bytes) -> Any:
        if limit is not None and len(content) > limit:
            return _Refused(
                Refusal(
                    Code.INVALID_ARGUMENT,
                    "REQUEST_TOO_LARGE",
                    f"the request takes {len(content):,} bytes; {method} reads at most {limit:,}",
                )
            )
        try:
            return read(content) if read else content
        except (DecodeError, ValueError) as error:
            return _Refused(Refusal(Code.INVALID_ARGUMENT, "MALFORMED_REQUEST", f"no message of {method}: {error}"))

    return _Reading(handler, deserialize)


class _Reading:
    """A handler whose behaviors never see a request that was refused."""

    def __init__(self, handler: Handler, deserialize: Callable[[bytes], Any]) -> None:
        self.request_streaming = handler.request_streaming
        self.response_streaming = handler.response_streaming
        self.request_deserializer = deserialize
        self.response_serializer = handler.response_serializer
        self.unary_unary = handler.unary_unary and _answering(handler.unary_unary)
        self.unary_stream = handler.unary_stream and _generating(handler.unary_stream)
        self.stream_unary = handler.stream_unary and _answering(handler.stream_unary)
        self.stream_stream = handler.stream_stream and _generating(handler.stream_stream)


def _answering(behavior: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    async def answer(request: Any, context: Any) -> Any:
        return await behavior(_passed(request), context)

    return answer


def _generating(behavior: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    async def generate(request: Any, context: Any) -> AsyncIterator[Any]:
        async for response in behavior(_passed(request), context):
            yield response

    return generate


def _passed(request: Any) -> Any:
    """The request, or the stream of them; raises `RefusedError` at one that was refused."""
    if isinstance(request, _Refused):
        raise RefusedError(request.refusal)
    return _each_passed(request) if hasattr(request, "__aiter__") else request


async def _each_passed(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _passed(request)
