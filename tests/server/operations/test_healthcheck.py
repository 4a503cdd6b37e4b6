"""The health check as a container runs it: a process, its exit code, its line."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")
pytest.importorskip("grpc_health", reason="the server extra is not installed")

from limbeck_server.operations.health import Health  # noqa: E402
from limbeck_server.operations.state import LIVE, Condition, ServerState  # noqa: E402
from limbeck_server.trust.tls import ServerTls  # noqa: E402
from support.certificates import Authority  # noqa: E402
from support.echo import run  # noqa: E402


@asynccontextmanager
async def healthy(state, address="127.0.0.1:0", credentials=None):
    """A server of that state; its address is given."""
    server = grpc.aio.server()
    async with Health(state) as health:
        health.add_to(server)
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        await server.start()
        try:
            yield address.replace(":0", f":{port}")
        finally:
            await server.stop(None)


async def check(*arguments, **environment):
    """The exit code and what was printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "limbeck_server.operations.healthcheck",
        *arguments,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.fixture
def up():
    state = ServerState()
    state.leave(Condition.STARTING)
    return state


def test_a_server_that_serves_passes(up):
    async def main():
        async with healthy(up) as address:
            assert await check(address) == (0, "server: SERVING\n")
            assert await check(LIMBECK_ADDRESS=address) == (0, "server: SERVING\n")

    run(main)


def test_a_unix_socket_is_an_address_too(up, tmp_path):
    async def main():
        async with healthy(up, f"unix:{tmp_path}/s") as address:
            assert (await check(address))[0] == 0

    run(main)


def test_a_server_that_does_not_serve_fails_and_is_live_all_the_same(up):
    up.enter(Condition.DISK_FULL, "no space")

    async def main():
        async with healthy(up) as address:
            assert await check(address) == (1, "server: NOT_SERVING\n")
            assert await check(address, LIVE) == (0, f"{LIVE}: SERVING\n")

    run(main)


def test_nobody_at_the_address_fails():
    async def main():
        assert await check("127.0.0.1:9") == (1, "server: UNAVAILABLE\n")

    run(main)


def test_a_server_with_tls_passes_without_a_word_about_certificates(up, tmp_path):
    pair = Authority(tmp_path).issue("server")
    tls = ServerTls(certificate=pair.certificate, key=pair.key)

    async def main():
        async with healthy(up, credentials=tls.grpc_credentials()) as address:
            assert (await check(address))[0] == 0

    run(main)


def test_a_server_that_wants_certificates_passes_with_one_from_the_environment(up, tmp_path):
    authority = Authority(tmp_path)
    pair, ours = authority.issue("server"), authority.issue("probe")
    tls = ServerTls(certificate=pair.certificate, key=pair.key, client_ca=authority.certificate)
    environment = {"LIMBECK_TLS_CERTIFICATE": str(ours.certificate), "LIMBECK_TLS_KEY": str(ours.key)}

    async def main():
        async with healthy(up, credentials=tls.grpc_credentials()) as address:
            assert (await check(address))[0] == 1
            assert (await check(address, **environment))[0] == 0

    run(main)


def test_with_an_authority_a_server_of_another_fails(up, tmp_path):
    pair = Authority(tmp_path).issue("server")
    other = Authority(tmp_path, "other")
    tls = ServerTls(certificate=pair.certificate, key=pair.key)

    async def main():
        async with healthy(up, credentials=tls.grpc_credentials()) as address:
            assert (await check(address, LIMBECK_TLS_CA=str(other.certificate)))[0] == 1

    run(main)
