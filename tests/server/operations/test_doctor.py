"""`limbeck doctor --server` against real servers, good and ill."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")
pytest.importorskip("grpc_health", reason="the server extra is not installed")

from limbeck_server.operations.doctor import server_report  # noqa: E402
from limbeck_server.operations.facts import ServerFacts  # noqa: E402
from limbeck_server.operations.health import Health  # noqa: E402
from limbeck_server.operations.probe import Door  # noqa: E402
from limbeck_server.operations.state import Condition, ServerState  # noqa: E402
from limbeck_server.rpc import server_pb2_grpc  # noqa: E402
from limbeck_server.services.server_info import Device, Limits, ServerInformation  # noqa: E402
from limbeck_server.trust.authorization import Authorization  # noqa: E402
from limbeck_server.trust.quotas import Streams  # noqa: E402
from limbeck_server.trust.tls import ServerTls  # noqa: E402
from limbeck_server.trust.tokens import TokenFile  # noqa: E402
from support.certificates import Authority  # noqa: E402
from support.echo import run  # noqa: E402
from support.tokens import token_file  # noqa: E402

WORKER = (Device("cpu", "w0", True),)


@asynccontextmanager
async def serving(folder, *, tokens=None, tls=None, devices=WORKER, clock=time.time):
    """A server that says what it is; its address and its state."""
    state = ServerState()
    state.leave(Condition.STARTING)
    server = grpc.aio.server(interceptors=[Authorization(tokens, Streams()), ServerFacts(state, folder, clock=clock)])
    information = ServerInformation(Limits(1, 2, 3, 4), packs=["mini"], devices=lambda: list(devices))
    server_pb2_grpc.add_ServerServiceServicer_to_server(information, server)
    async with Health(state) as health:
        health.add_to(server)
        address = "127.0.0.1:0"
        port = server.add_secure_port(address, tls.grpc_credentials()) if tls else server.add_insecure_port(address)
        await server.start()
        try:
            yield f"127.0.0.1:{port}", state
        finally:
            await server.stop(None)


async def report(address, **door):
    """Findings by what was looked at."""
    findings = await asyncio.to_thread(server_report, Door(address=address, **door))
    return {finding.what: finding for finding in findings}


def bad(findings):
    return {what for what, finding in findings.items() if finding.good is False}


def test_a_healthy_server_has_nothing_bad(tmp_path):
    async def main():
        async with serving(tmp_path) as (address, _):
            found = await report(address)
            assert bad(found) <= {"disk"}  # the machine of the test may have little
            assert "w0" in "".join(found)
            assert "GiB free" in found["disk"].found or "MiB free" in found["disk"].found
            assert found["packs"].found == "mini"

    run(main)


def test_nobody_at_the_address_is_one_finding_that_says_what_to_look_at():
    async def main():
        found = await report("127.0.0.1:9")
        assert bad(found) == {"reached"}
        assert "is it running" in found["reached"].found

    run(main)


def test_conditions_and_services_that_do_not_serve_are_named(tmp_path):
    async def main():
        async with serving(tmp_path, devices=()) as (address, state):
            state.enter(Condition.NO_WORKERS, "none")
            found = await report(address)
            assert {"conditions", "workers", "health of limbeck.v1.InferenceService"} <= bad(found)
            assert found["conditions"].found == "no_workers"

    run(main)


@pytest.mark.parametrize(
    ("token", "good", "words"),
    [("", False, "UNAUTHENTICATED"), ("wrong", False, "UNAUTHENTICATED"), ("read", True, "accepted")],
)
def test_a_token_is_tried(tmp_path, token, good, words):
    path, known = token_file(tmp_path)

    async def main():
        async with serving(tmp_path, tokens=TokenFile(path)) as (address, _):
            found = await report(address, token=known.get(token, token))
            assert (found["token"].good, words in found["token"].found) == (good, True)

    run(main)


def test_a_certificate_is_shown_and_its_authority_checked(tmp_path):
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    pair = authority.issue("server")
    tls = ServerTls(certificate=pair.certificate, key=pair.key)

    async def main():
        async with serving(tmp_path, tls=tls) as (address, _):
            found = await report(address, ca=authority.certificate)
            assert "localhost" in found["certificate"].found
            assert "certificate is good for" in bad(found)  # an hour is left
            assert found["reached"].good
            assert "reached" in bad(await report(address, ca=other.certificate))

    run(main)


def test_a_clock_that_differs_is_told_in_seconds(tmp_path):
    async def main():
        async with serving(tmp_path, clock=lambda: time.time() + 3600) as (address, _):
            found = await report(address)
            assert "clock" in bad(found)
            assert found["clock"].found.startswith("+3600.0 s")

    run(main)
