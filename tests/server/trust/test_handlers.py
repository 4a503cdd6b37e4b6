"""What is held around a call: when it begins and ends, whatever happens between."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.trust.handlers import around  # noqa: E402
from support.echo import FAILING, SERVER_STREAM, STREAMS, UNARY, ask, echo_server, run  # noqa: E402


class Holding(grpc.aio.ServerInterceptor):
    """Writes down when a call begins and ends."""

    def __init__(self):
        self.seen = []

    async def intercept_service(self, continuation, details):
        @asynccontextmanager
        async def enter(context):
            self.seen.append("begin")
            try:
                yield
            finally:
                self.seen.append("end")

        return around(await continuation(details), enter)


@pytest.mark.parametrize("method", [UNARY, *STREAMS])
def test_it_is_held_once_around_a_call_of_every_kind(method):
    holding = Holding()

    async def main():
        async with echo_server(holding) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await ask(channel, method)
            while len(holding.seen) < 2:
                await asyncio.sleep(0.01)

    run(main)
    assert holding.seen == ["begin", "end"]


def test_it_ends_when_the_handler_fails():
    holding = Holding()

    async def main():
        async with echo_server(holding) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(channel, FAILING)

    run(main)
    assert holding.seen == ["begin", "end"]


@pytest.mark.parametrize("request_bytes", [b"stay", b"talk"])
def test_it_ends_when_the_caller_leaves(request_bytes):
    holding = Holding()

    async def main():
        async with echo_server(holding) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_stream(SERVER_STREAM)(request_bytes)
            await call.read()
            call.cancel()
            while len(holding.seen) < 2:
                await asyncio.sleep(0.01)

    run(main)


def test_a_handler_that_would_run_in_a_thread_is_refused():
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    with pytest.raises(TypeError, match="is not asynchronous"):
        around(handler, lambda context: None)
