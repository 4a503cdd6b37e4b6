"""The end of a server, in a process of its own that gets real signals."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.operations.drain import Drain, DrainGate  # noqa: E402
from limbeck_server.operations.state import Condition, ServerState  # noqa: E402
from limbeck_server.wire.errors import remote_error  # noqa: E402
from support.echo import OPEN, SERVER_STREAM, UNARY, ask, echo_server, run  # noqa: E402

SERVER = """
import asyncio, sys
import grpc.aio
from limbeck_server.operations.drain import Drain
from limbeck_server.operations.state import ServerState

async def main():
    drain = Drain(float(sys.argv[1]), ServerState())
    drain.listen()
    async def stop_workers():
        print("stopping", flush=True)
        await asyncio.sleep(float(sys.argv[2]))
        print("stopped", flush=True)
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print("up", flush=True)
    await drain.begun()
    print("in time" if await drain.carry_out(stop_workers=stop_workers, servers=[server]) else "late", flush=True)

asyncio.run(main())
"""


@contextmanager
def serving(deadline, stop_seconds):
    command = [sys.executable, "-c", SERVER, str(deadline), str(stop_seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_workers_and_then_the_server_with_exit_code_0(number):
    with serving(60, 0) as process:
        process.send_signal(number)
        assert process.stdout.read() == "stopping\nstopped\nin time\n"
        assert process.wait() == 0


def test_workers_that_do_not_stop_are_not_waited_for_beyond_the_deadline():
    with serving(0.1, 3600) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "stopping\nlate\n"
        assert process.wait() == 0


def test_a_second_signal_ends_the_process_at_once():
    with serving(3600, 3600) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM


def test_while_it_ends_new_calls_are_refused_as_unavailable_and_probes_are_answered():
    state = ServerState()

    async def main():
        async with (
            echo_server(DrainGate(state)) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            await ask(channel, UNARY)
            state.enter(Condition.DRAINING, "test")
            for method in (UNARY, SERVER_STREAM):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await ask(channel, method)
                refusal = remote_error(caught.value).refusal
                assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
                assert refusal.retry_seconds
            await ask(channel, OPEN)

    run(main)


def test_calls_that_are_open_at_the_end_end_as_unavailable_so_that_clients_resume():
    state = ServerState()

    async def nothing():
        pass

    async def main():
        drain = Drain(10, state)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([Staying()])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_stream(SERVER_STREAM)(b"")
            await call.read()
            drain.begin("test")
            assert await drain.carry_out(stop_workers=nothing, servers=[server])
            assert await call.code() == grpc.StatusCode.UNAVAILABLE

    run(main)


class Staying(grpc.GenericRpcHandler):
    def service(self, details):
        async def stay(request, context):
            yield b"here"
            await asyncio.sleep(3600)

        return grpc.unary_stream_rpc_method_handler(stay)
