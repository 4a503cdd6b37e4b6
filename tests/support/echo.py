"""A gRPC server that answers every call with the name of its caller, behind the interceptors of a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from limbeck_server.trust.identity import current

UNARY = "/limbeck.v1.JobService/GetJob"
SUBMIT = "/limbeck.v1.JobService/CreateJob"
ADMIN = "/limbeck.v1.PackService/LoadEngine"
SERVER_STREAM = "/limbeck.v1.JobService/WatchJob"
WRITTEN_STREAM = "/limbeck.v1.DistilledSetService/StreamImages"
CLIENT_STREAM = "/limbeck.v1.DatasetService/UploadDataset"
BOTH_STREAMS = "/inference.GRPCInferenceService/ModelStreamInfer"
OPEN = "/grpc.health.v1.Health/Check"
FAILING = "/limbeck.v1.JobService/DeleteJob"
STREAMS = (SERVER_STREAM, WRITTEN_STREAM, CLIENT_STREAM, BOTH_STREAMS)

_WAIT_SECONDS = 60.0


async def _unary(request: bytes, context: Any) -> bytes:
    return current().name.encode()


async def _failing(request: bytes, context: Any) -> bytes:
    raise ValueError("a bug")


async def _server_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield current().name.encode()
    if request == b"stay":
        await asyncio.sleep(_WAIT_SECONDS)
    while request == b"talk":
        await asyncio.sleep(0.01)
        yield b"on"


async def _written_stream(request: bytes, context: Any) -> None:
    await context.write(current().name.encode())


async def _client_stream(requests: AsyncIterator[bytes], context: Any) -> bytes:
    async for _ in requests:
        pass
    return current().name.encode()


async def _both_streams(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for _ in requests:
        yield current().name.encode()


_HANDLERS = {
    UNARY: grpc.unary_unary_rpc_method_handler(_unary),
    SUBMIT: grpc.unary_unary_rpc_method_handler(_unary),
    ADMIN: grpc.unary_unary_rpc_method_handler(_unary),
    OPEN: grpc.unary_unary_rpc_method_handler(_unary),
    FAILING: grpc.unary_unary_rpc_method_handler(_failing),
    SERVER_STREAM: grpc.unary_stream_rpc_method_handler(_server_stream),
    WRITTEN_STREAM: grpc.unary_stream_rpc_method_handler(_written_stream),
    CLIENT_STREAM: grpc.stream_unary_rpc_method_handler(_client_stream),
    BOTH_STREAMS: grpc.stream_stream_rpc_method_handler(_both_streams),
}


class _Echo(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return _HANDLERS.get(details.method)


@asynccontextmanager
async def echo_server(
    *interceptors: grpc.aio.ServerInterceptor,
    credentials: grpc.ServerCredentials | None = None,
    options: Sequence[tuple[str, Any]] = (),
) -> AsyncIterator[int]:
    """Serve on a port of 127.0.0.1, which is given."""
    server = grpc.aio.server(interceptors=interceptors, options=options)
    server.add_generic_rpc_handlers([_Echo()])
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def ask(
    channel: grpc.aio.Channel, method: str, token: str = "", *, request: bytes = b"", **options: Any
) -> bytes:
    """Call a method of any kind, and return its first answer."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    options = {"metadata": metadata, "timeout": _WAIT_SECONDS, **options}
    if method == CLIENT_STREAM:
        return await channel.stream_unary(method)(iter([request]), **options)
    if method == BOTH_STREAMS:
        return await _first(channel.stream_stream(method)(iter([request]), **options))
    if method in STREAMS:
        return await _first(channel.unary_stream(method)(request, **options))
    return await channel.unary_unary(method)(request, **options)


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a test's coroutine, for a while that no machine needs."""
    return asyncio.run(asyncio.wait_for(main(), 2 * _WAIT_SECONDS))


async def _first(call: Any) -> bytes:
    async for answer in call:
        return answer
    raise AssertionError("the stream was empty")
