"""Health as a probe sees it, while things go wrong and right again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")
health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2", reason="the server extra is not installed")

from grpc_health.v1 import health_pb2_grpc  # noqa: E402

from limbeck_server.operations.health import Health  # noqa: E402
from limbeck_server.operations.state import LIVE, SERVICES, Condition, ServerState  # noqa: E402
from support.echo import run  # noqa: E402

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def probing(state):
    """A stub of a server whose health is that of the state."""
    server = grpc.aio.server()
    async with Health(state) as health:
        health.add_to(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield health_pb2_grpc.HealthStub(channel)
        finally:
            await server.stop(None)


async def status(stub, service=""):
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


@pytest.fixture
def up():
    state = ServerState()
    state.leave(Condition.STARTING)
    return state


def test_a_server_that_starts_is_live_and_serves_nothing_yet():
    async def main():
        async with probing(ServerState()) as stub:
            served = [service for service in SERVICES if await status(stub, service) == SERVING]
            assert served == [LIVE]

    run(main)


def test_a_server_that_is_up_serves_everything(up):
    async def main():
        async with probing(up) as stub:
            assert {await status(stub, service) for service in SERVICES} == {SERVING}

    run(main)


@pytest.mark.parametrize(
    ("condition", "stopped", "goes_on"),
    [
        (Condition.DISK_FULL, "limbeck.v1.JobService", "limbeck.v1.DistilledSetService"),
        (Condition.DISK_READ_ONLY, "limbeck.v1.DatasetService", "limbeck.v1.InferenceService"),
        (Condition.LEDGER_CORRUPT, "limbeck.v1.DistilledSetService", "inference.GRPCInferenceService"),
        (Condition.NO_WORKERS, "limbeck.v1.InferenceService", "limbeck.v1.JobService"),
        (Condition.DRAINING, "limbeck.v1.ServerService", LIVE),
    ],
)
def test_a_condition_stops_what_it_concerns_and_the_whole_and_nothing_else(up, condition, stopped, goes_on):
    up.enter(condition, "why")

    async def main():
        async with probing(up) as stub:
            assert [await status(stub, service) for service in ("", stopped)] == [NOT_SERVING] * 2
            assert await status(stub, goes_on) == SERVING

    run(main)


def test_whoever_watches_is_told_of_every_change(up):
    async def main():
        async with probing(up) as stub:
            call = stub.Watch(health_pb2.HealthCheckRequest(service="limbeck.v1.JobService"))
            assert (await call.read()).status == SERVING
            up.enter(Condition.DISK_FULL, "no space")
            assert (await call.read()).status == NOT_SERVING
            up.leave(Condition.DISK_FULL)
            assert (await call.read()).status == SERVING
            call.cancel()

    run(main)


def test_a_service_that_does_not_exist_is_not_found(up):
    async def main():
        async with probing(up) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await status(stub, "no.such.Service")
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND

    run(main)


def test_leaving_one_of_two_conditions_is_not_enough(up):
    up.enter(Condition.DISK_FULL, "no space")
    up.enter(Condition.NO_WORKERS, "none")
    up.leave(Condition.NO_WORKERS)
    assert not up.serves("")


def test_a_state_is_told_once_for_a_condition_that_lasts(up):
    told = []
    up.on_change(lambda: told.append(dict(up.reasons)))
    for _ in range(3):
        up.enter(Condition.DISK_FULL, "no space")
    up.leave(Condition.DISK_FULL)
    up.leave(Condition.DISK_FULL)
    assert told == [{Condition.DISK_FULL: "no space"}, {}]


def test_watchers_that_read_nothing_hold_up_nobody(up):
    async def main():
        async with probing(up) as stub:
            lazy = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(20)]
            for _ in range(50):
                up.enter(Condition.DISK_FULL, "no space")
                await asyncio.sleep(0)
                up.leave(Condition.DISK_FULL)
                await asyncio.sleep(0)
            while await status(stub) != SERVING:
                await asyncio.sleep(0.01)
            for call in lazy:
                call.cancel()

    run(main)
