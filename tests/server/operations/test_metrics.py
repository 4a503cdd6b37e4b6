"""What /metrics shows after something has happened, read back by Prometheus' own parser."""

from __future__ import annotations

import asyncio

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")
parser = pytest.importorskip("prometheus_client.parser", reason="the server extra is not installed")

from limbeck_server.operations.metrics import Metrics, Rate  # noqa: E402
from limbeck_server.operations.rpc_metrics import RpcMetrics  # noqa: E402
from limbeck_server.store.records import JobState  # noqa: E402
from limbeck_server.trust.authorization import Authorization  # noqa: E402
from limbeck_server.trust.quotas import Streams  # noqa: E402
from limbeck_server.trust.scopes import SCOPES  # noqa: E402
from limbeck_server.trust.tokens import TokenFile  # noqa: E402
from support.echo import FAILING, SERVER_STREAM, STREAMS, UNARY, ask, echo_server, run  # noqa: E402
from support.tokens import token_file  # noqa: E402


def read(metrics, name, **labels):
    """A sample's value; None if there is none."""
    for family in parser.text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            if sample.name == f"limbeck_{name}" and labels.items() <= sample.labels.items():
                return sample.value
    return None


@pytest.fixture
def metrics():
    return Metrics()


def test_two_servers_in_one_process_count_apart(metrics):
    metrics.images_finished(3)
    assert (read(metrics, "images_total"), read(Metrics(), "images_total")) == (3, 0)


def test_every_state_of_jobs_is_shown_also_with_none_in_it(metrics):
    metrics.jobs({JobState.RUNNING: 2})
    assert [read(metrics, "jobs", state=state) for state in ("running", "failed")] == [2, 0]


def test_the_caches_figures_go_on_when_a_workers_process_is_replaced(metrics):
    seen = {"busy": True, "private_nbytes": 10}
    metrics.worker_seen("w", cache_hits=3, cache_misses=1, **seen)
    metrics.worker_seen("w", cache_hits=5, cache_misses=1, **seen)
    metrics.worker_gone("w")
    metrics.worker_seen("w", cache_hits=2, cache_misses=0, **seen)
    assert [read(metrics, "engine_cache_total", result=result) for result in ("hit", "miss")] == [7, 1]


def test_a_worker_that_is_gone_is_shown_no_more(metrics):
    metrics.worker_planned("w", 100)
    metrics.worker_seen("w", busy=True, private_nbytes=10, cache_hits=0, cache_misses=0)
    assert read(metrics, "worker_planned_bytes", worker="w") == 100
    metrics.worker_gone("w")
    assert b'worker="w"' not in metrics.text()


def test_images_a_second_are_those_of_the_last_while():
    now = [0.0]
    rate = Rate(60, clock=lambda: now[0])
    rate.add(60)
    now[0] = 30.0
    rate.add(30)
    assert rate.per_second() == 1.5
    now[0] = 61.0
    assert rate.per_second() == 0.5
    now[0] = 1000.0
    assert rate.per_second() == 0


def test_a_reason_that_somebody_made_up_makes_no_series_of_its_own(metrics):
    for reason in ("GOOD_REASON", "bad reason", 'x"} 1\nforged 1', "A" * 1000):
        metrics.refused(reason)
    assert read(metrics, "refusals_total", reason="GOOD_REASON") == 1
    assert read(metrics, "refusals_total", reason="OTHER") == 3


def test_an_rpc_is_counted_under_its_code(metrics, tmp_path):
    path, tokens = token_file(tmp_path)
    guards = RpcMetrics(metrics, SCOPES), Authorization(TokenFile(path), Streams(), on_refusal=metrics.refused)

    async def main():
        async with echo_server(*guards) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await ask(channel, UNARY, tokens["read"])
            for method, token in ((UNARY, ""), (FAILING, tokens["submit"]), (UNARY, "wrong")):
                with pytest.raises(grpc.aio.AioRpcError):
                    await ask(channel, method, token)

    run(main)
    assert read(metrics, "rpc_seconds_count", method=UNARY, code="OK") == 1
    assert read(metrics, "rpc_seconds_count", method=UNARY, code="UNAUTHENTICATED") == 2
    assert read(metrics, "rpc_seconds_count", method=FAILING, code="UNKNOWN") == 1
    assert read(metrics, "refusals_total", reason="TOKEN_UNKNOWN") == 1


@pytest.mark.parametrize("method", STREAMS)
def test_streams_of_every_kind_are_counted_when_they_end(metrics, method):
    async def main():
        async with (
            echo_server(RpcMetrics(metrics, SCOPES)) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            await ask(channel, method)
            while not read(metrics, "rpc_seconds_count", method=method):
                await asyncio.sleep(0.01)

    run(main)


def test_a_stream_that_its_caller_leaves_is_counted_as_cancelled(metrics):
    async def main():
        async with (
            echo_server(RpcMetrics(metrics, SCOPES)) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            call = channel.unary_stream(SERVER_STREAM)(b"stay")
            await call.read()
            call.cancel()
            while not read(metrics, "rpc_seconds_count", method=SERVER_STREAM, code="CANCELLED"):
                await asyncio.sleep(0.01)

    run(main)


def test_methods_that_a_caller_makes_up_share_one_series(metrics):
    async def main():
        async with (
            echo_server(RpcMetrics(metrics, SCOPES)) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            for index in range(20):
                with pytest.raises(grpc.aio.AioRpcError):
                    await ask(channel, f"/made.up.Service/Method{index}")

    run(main)
    assert read(metrics, "rpc_seconds_count", method="other", code="UNIMPLEMENTED") == 20
    assert b"made.up" not in metrics.text()


def test_open_streams_are_asked_for_when_figures_are(metrics):
    streams = [3]
    metrics.streams_from(lambda: streams[0])
    assert read(metrics, "open_streams") == 3
