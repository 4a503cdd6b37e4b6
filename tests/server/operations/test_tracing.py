"""Spans as an exporter gets them."""

from __future__ import annotations

import sys

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")
memory = pytest.importorskip(
    "opentelemetry.sdk.trace.export.in_memory_span_exporter", reason="the otel extra is not installed"
)

from opentelemetry.trace import StatusCode  # noqa: E402

from limbeck.errors import ConfigError  # noqa: E402
from limbeck_server.operations.tracing import OpenTelemetry, Tracing, link_job  # noqa: E402
from limbeck_server.store.records import Failure, Job, JobState  # noqa: E402
from support.echo import FAILING, OPEN, SERVER_STREAM, UNARY, ask, echo_server, run  # noqa: E402

JOB = Job(
    id="0123456789abcdef0123456789abcdef",
    owner="ada",
    kind="distill",
    spec={},
    state=JobState.SUCCEEDED,
    created_at=100.0,
    started_at=101.0,
    finished_at=160.0,
    finished_images=8,
)


@pytest.fixture
def traced():
    """A tracing, and a function that ends it and gives its spans by name."""
    exporter = memory.InMemorySpanExporter()
    tracing = OpenTelemetry(exporter)

    def spans():
        tracing.close()
        return {span.name: span for span in exporter.get_finished_spans()}

    return tracing, spans


def test_the_units_of_a_job_are_children_of_the_job_in_the_trace_that_has_its_id(traced):
    tracing, spans = traced
    tracing.unit_finished(JOB.id, 3, worker="w0", seconds=2.0, num_images=4)
    tracing.job_finished(JOB)
    found = spans()
    assert {span.context.trace_id for span in found.values()} == {int(JOB.id, 16)}
    assert found["unit"].parent.span_id == found["job"].context.span_id
    assert found["job"].parent is None
    assert found["unit"].end_time - found["unit"].start_time == 2_000_000_000
    assert found["job"].end_time - found["job"].start_time == 59_000_000_000


def test_another_process_makes_spans_of_the_same_trace(traced):
    tracing, spans = traced
    exporter = memory.InMemorySpanExporter()
    after_restart = OpenTelemetry(exporter)
    tracing.unit_finished(JOB.id, 0, worker="w0", seconds=1.0, num_images=1)
    after_restart.job_finished(JOB)
    after_restart.close()
    (job,) = exporter.get_finished_spans()
    assert spans()["unit"].parent.span_id == job.context.span_id


def test_a_job_that_failed_is_an_error_with_its_reason(traced):
    tracing, spans = traced
    failed = {**vars(JOB), "state": JobState.FAILED, "failure": Failure("DATA_ERROR", "secret path")}
    tracing.job_finished(Job(**failed))
    status = spans()["job"].status
    assert (status.status_code, status.description) == (StatusCode.ERROR, "DATA_ERROR")


async def calls(tracing, *methods, metadata=()):
    async with (
        echo_server(*tracing.interceptors()) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        for method in methods:
            try:
                await ask(channel, method, metadata=metadata)
            except grpc.aio.AioRpcError:
                assert method == FAILING


def test_every_call_but_a_probes_is_a_span(traced):
    tracing, spans = traced
    run(lambda: calls(tracing, UNARY, SERVER_STREAM, FAILING, OPEN))
    assert sorted(spans()) == [method.strip("/") for method in sorted((UNARY, SERVER_STREAM, FAILING))]


def test_a_call_is_the_child_of_its_callers_span(traced):
    tracing, spans = traced
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    run(lambda: calls(tracing, UNARY, metadata=[("traceparent", parent)]))
    span = spans()[UNARY.strip("/")]
    assert f"{span.context.trace_id:x}" == parent.split("-")[1][1:]
    assert f"{span.parent.span_id:x}" == parent.split("-")[2]


def test_a_call_can_be_linked_to_a_job(traced):
    tracing, spans = traced

    class Linking(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation, details):
            async def answer(request, context):
                link_job(JOB.id)
                return b""

            return grpc.unary_unary_rpc_method_handler(answer)

    async def main():
        async with (
            echo_server(*tracing.interceptors(), Linking()) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            await ask(channel, UNARY)

    run(main)
    (link,) = spans()[UNARY.strip("/")].links
    assert link.context.trace_id == int(JOB.id, 16)


def test_without_traces_everything_is_a_no_op():
    tracing = Tracing()
    link_job(JOB.id)
    tracing.unit_finished(JOB.id, 0, worker="w", seconds=1, num_images=1)
    tracing.job_finished(JOB)
    assert tracing.interceptors() == ()


def test_asking_for_traces_without_the_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"pip install 'limbeck\[otel\]'"):
        OpenTelemetry()
