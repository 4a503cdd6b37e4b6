"""Traces of calls, jobs and units, for a server that is asked for them.

A job's trace has the job's own id, which is 128 bits as a trace's is. So spans of one job come together whoever makes
them, before and after a restart, and nothing about them has to be remembered:

    trace <job id>        job ─┬─ unit 0
                               └─ unit 1
    trace of the caller   limbeck.v1.JobService/CreateJob ··· linked to the job's trace
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import grpc

import limbeck
from limbeck.errors import ConfigError
from limbeck_server.store.records import Job, JobState
from limbeck_server.trust.handlers import Handler, around

_link_job: ContextVar[Callable[[str], None] | None] = ContextVar("limbeck_link_job", default=None)
_HEALTH = "/grpc.health.v1.Health/"


class Tracing:
    """Traces nothing, and costs nothing."""

    def interceptors(self) -> Sequence[grpc.aio.ServerInterceptor]:
        """What makes a span of every call."""
        return ()

    def unit_finished(self, job: str, index: int, *, worker: str, seconds: float, num_images: int) -> None:
        """A unit was finished just now, that long after it was leased."""

    def job_finished(self, job: Job) -> None:
        """A job came to its end."""

    def close(self) -> None:
        """Send what is not sent yet."""


class OpenTelemetry(Tracing):
    """Traces to OpenTelemetry.

    Args:
        exporter: Where spans go; None is the collector that OTEL_EXPORTER_OTLP_ENDPOINT and its like name.

    Raises:
        ConfigError: The packages are not installed.
    """

    def __init__(self, exporter: Any = None) -> None:
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

                exporter = OTLPSpanExporter()
        except ImportError as error:
            raise ConfigError(f"traces need OpenTelemetry ({error.name}): pip install 'limbeck[otel]'") from error
        resource = Resource.create({"service.name": "limbeck", "service.version": limbeck.__version__})
        self._ids = _Ids()
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("limbeck_server", limbeck.__version__)

    def interceptors(self) -> Sequence[grpc.aio.ServerInterceptor]:
        return (_RpcTraces(self._tracer),)

    def unit_finished(self, job: str, index: int, *, worker: str, seconds: float, num_images: int) -> None:
        from opentelemetry.trace import NonRecordingSpan, set_span_in_context

        now = time.time_ns()
        span = self._tracer.start_span(
            "unit",
            context=set_span_in_context(NonRecordingSpan(_job_context(job))),
            start_time=now - round(seconds * 1e9),
            attributes={"job": job, "unit": index, "worker": worker, "images": num_images},
        )
        span.end(now)

    def job_finished(self, job: Job) -> None:
        from opentelemetry.context import Context
        from opentelemetry.trace import Status, StatusCode

        root = _job_context(job.id)
        with self._ids.fixed(root.trace_id, root.span_id):
            span = self._tracer.start_span(
                "job",
                context=Context(),
                start_time=_nanoseconds(job.started_at or job.created_at),
                attributes={"job": job.id, "kind": job.kind, "state": job.state.value, "images": job.finished_images},
            )
        if job.state is JobState.FAILED:
            span.set_status(Status(StatusCode.ERROR, job.failure.reason if job.failure else None))
        span.end(_nanoseconds(job.finished_at) if job.finished_at is not None else None)

    def close(self) -> None:
        self._provider.shutdown()


def link_job(job: str) -> None:
    """Link the span of the call that is served now to a job's trace; without traces, nothing."""
    link = _link_job.get()
    if link is not None:
        link(job)


class _RpcTraces(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """A span for every call, but health's; the child of the caller's, if the caller says so."""

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        if handler is None or details.method.startswith(_HEALTH):
            return handler
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {key: value for key, value in details.invocation_metadata or () if isinstance(value, str)}
        parent = TraceContextTextMapPropagator().extract(carrier)
        service, _, method = details.method.strip("/").partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}

        @asynccontextmanager
        async def traced(context: Any) -> AsyncIterator[None]:
            span = self._tracer.start_span(
                f"{service}/{method}", context=parent, kind=SpanKind.SERVER, attributes=attributes
            )
            _link_job.set(lambda job: span.add_link(_job_context(job)))
            try:
                yield
            finally:
                code = context.code()
                span.set_attribute("rpc.grpc.status_code", code.value[0] if code else 0)
                span.end()

        return around(handler, traced)


def _job_context(job: str) -> Any:
    """The place of a job's own span, which anybody can know."""
    from opentelemetry.trace import SpanContext, TraceFlags

    span_id = int(hashlib.sha256(job.encode()).hexdigest()[:16], 16) or 1
    return SpanContext(int(job, 16) or 1, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


class _Ids:
    """Gives spans their ids, as OpenTelemetry's `IdGenerator`: random ones, but within `fixed` those that were said."""

    def __init__(self) -> None:
        self._said: tuple[int, int] | None = None

    @contextmanager
    def fixed(self, trace_id: int, span_id: int) -> Iterator[None]:
        """Give these. Between the two ends nothing may wait, or another task would get them."""
        self._said = (trace_id, span_id)
        try:
            yield
        finally:
            self._said = None

    def generate_trace_id(self) -> int:
        return self._said[0] if self._said else _random(128)

    def generate_span_id(self) -> int:
        return self._said[1] if self._said else _random(64)

    def is_trace_id_random(self) -> bool:
        return True


def _random(bits: int) -> int:
    return secrets.randbits(bits) or 1  # 0 is no id
