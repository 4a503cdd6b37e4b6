"""The job service: jobs are made, read, followed, ended and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

import grpc

from limbeck_server.rpc import jobs_pb2, jobs_pb2_grpc
from limbeck_server.services.access import shown_owner, visible_job
from limbeck_server.services.asked import asked_spec, refuse_unready
from limbeck_server.services.paging import page_size, token_refused
from limbeck_server.services.shared import SharedReads
from limbeck_server.spec import Rules
from limbeck_server.store.base import Store
from limbeck_server.store.records import FINAL, Job, JobEvent, JobState
from limbeck_server.store.threaded import ThreadedStore
from limbeck_server.trust.identity import Identity, current
from limbeck_server.wire.jobs import event_message, job_message, progress_message, state_of
from limbeck_server.wire.names import job_id
from limbeck_server.wire.refusal import Refusal, RefusedError, RequestError, Violation

_TICK_SECONDS = 0.25
_EVENTS_AT_A_TIME = 100
_PRIORITIES = range(-1000, 1001)
_PAGE_NBYTES = 2**20
"""A page of jobs with long specs has fewer of them: a client that sets nothing takes messages of 4 MiB."""
_REQUEST_ID_LENGTH = 128

Context: TypeAlias = grpc.aio.ServicerContext


class Progress(Protocol):
    """What knows how far the workers are."""

    def latest(self, job: str) -> Mapping[str, Any] | None:
        """What the job does now, with the keys stage, done, total, images_per_second and private_nbytes."""
        ...


class Jobs(jobs_pb2_grpc.JobServiceServicer):
    """`limbeck.v1.JobService`.

    Args:
        store: The ledger.
        rules: What the server lets a job do.
        progress: How far jobs are, between their events.
        wake: Told when there is a new job, or the end of one was asked for.
    """

    def __init__(self, store: ThreadedStore, *, rules: Rules, progress: Progress, wake: Callable[[], None]) -> None:
        self._store = store
        self._reads = SharedReads[tuple[Job, list[JobEvent]]](store)
        self._rules = rules
        self._progress = progress
        self._wake = wake

    async def CreateJob(self, request: jobs_pb2.CreateJobRequest, context: Context) -> jobs_pb2.CreateJobResponse:
        caller = current()
        _refuse_request(request, caller)
        kind, spec = await asyncio.to_thread(asked_spec, request, self._rules)

        def create(store: Store) -> Job:
            refuse_unready(store, kind, spec, caller)
            job, _ = store.create_job(
                owner=caller.name,
                request_id=request.request_id,
                kind=kind,
                spec=spec,
                priority=request.priority,
                max_unfinished=caller.quotas.max_unfinished_jobs,
            )
            return job

        job = await self._store.run(create)
        self._wake()
        return jobs_pb2.CreateJobResponse(job=job_message(job))

    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: Context) -> jobs_pb2.GetJobResponse:
        return jobs_pb2.GetJobResponse(job=job_message(await self._job(job_id(request.name))))

    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, context: Context) -> jobs_pb2.ListJobsResponse:
        size, states, owner = page_size(request.page_size), _states(request.states), shown_owner(current())
        with token_refused():
            return await self._store.run(lambda store: _page(store, owner, states, size, request.page_token))

    async def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: Context) -> jobs_pb2.CancelJobResponse:
        job, caller = job_id(request.name), current()

        def cancel(store: Store) -> Job:
            visible_job(store, job, caller)
            return store.request_cancel(job)

        found = await self._store.run(cancel)
        self._wake()
        return jobs_pb2.CancelJobResponse(job=job_message(found))

    async def DeleteJob(self, request: jobs_pb2.DeleteJobRequest, context: Context) -> jobs_pb2.DeleteJobResponse:
        job, caller = job_id(request.name), current()

        def delete(store: Store) -> None:
            visible_job(store, job, caller)
            store.delete_job(job)

        await self._store.run(delete)
        return jobs_pb2.DeleteJobResponse()

    async def ListJobEvents(
        self, request: jobs_pb2.ListJobEventsRequest, context: Context
    ) -> jobs_pb2.ListJobEventsResponse:
        job, caller = job_id(request.parent, "parent"), current()
        size, after = page_size(request.page_size, default=100), _sequence(request.page_token)

        def read(store: Store) -> jobs_pb2.ListJobEventsResponse:
            last = visible_job(store, job, caller).sequence
            events = store.events(job, after=after, limit=size)
            more = bool(events) and events[-1].sequence < last
            token = str(events[-1].sequence) if more else ""
            return jobs_pb2.ListJobEventsResponse(events=map(event_message, events), next_page_token=token)

        return await self._store.run(read)

    async def WatchJob(
        self, request: jobs_pb2.WatchJobRequest, context: Context
    ) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        job, after = job_id(request.name), request.after_sequence
        _refuse_after(after, (await self._job(job)).sequence)
        async with self._store.subscribe(job) as changed:
            while True:
                changed.clear()
                now, events = await self._since(job, after)
                for event in events:
                    after = event.sequence
                    yield jobs_pb2.WatchJobResponse(event=event_message(event))
                if after < now.sequence:
                    continue
                if now.state in FINAL:
                    return
                told: Mapping[str, Any] | None = None
                while (told := await self._progressed(job, changed, told)) is not None:
                    yield jobs_pb2.WatchJobResponse(event=progress_message(told))

    async def _since(self, job: str, after: int) -> tuple[Job, list[JobEvent]]:
        """A job as it is, and the next of its events; many follow one job, and most are at the same event."""
        return await self._reads.read(
            (job, after), lambda store: (store.job(job), store.events(job, after=after, limit=_EVENTS_AT_A_TIME))
        )

    async def _progressed(
        self, job: str, changed: asyncio.Event, told: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | None:
        """The next sign of progress that is another than `told`; None when the job has changed."""
        while not changed.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await changed.wait()
                return None
            progress = self._progress.latest(job)
            if progress is not None and progress != told:
                return dict(progress)
        return None

    async def _job(self, job: str) -> Job:
        caller = current()
        return await self._store.run(lambda store: visible_job(store, job, caller))


def _refuse_request(request: jobs_pb2.CreateJobRequest, caller: Identity) -> None:
    if len(request.request_id) > _REQUEST_ID_LENGTH:
        length = len(request.request_id)
        raise RequestError(
            Violation("request_id", f"it has {length} characters, at most {_REQUEST_ID_LENGTH} are kept; use a UUID")
        )
    if request.priority not in _PRIORITIES:
        raise RequestError(
            Violation("priority", f"it must be from {_PRIORITIES[0]} to {_PRIORITIES[-1]}, got {request.priority}")
        )
    if request.priority > 0 and not caller.is_admin:
        raise RefusedError(
            Refusal(
                grpc.StatusCode.PERMISSION_DENIED,
                "PRIORITY_NEEDS_ADMIN",
                f"priority {request.priority} goes before everybody's jobs and needs the scope 'admin'; use 0 or less",
            )
        )


def _page(
    store: Store, owner: str | None, states: Sequence[JobState], size: int, after: str
) -> jobs_pb2.ListJobsResponse:
    """A page of at most `size` jobs that a message can carry."""
    while True:
        jobs, token = store.jobs(owner=owner, states=states, limit=size, after=after)
        answer = jobs_pb2.ListJobsResponse(jobs=map(job_message, jobs), next_page_token=token)
        if size == 1 or answer.ByteSize() <= _PAGE_NBYTES:
            return answer
        size = max(size // 4, 1)


def _states(values: Sequence[int]) -> list[JobState]:
    states = []
    for number, value in enumerate(dict.fromkeys(values)):
        state = state_of(value)
        if state is None:
            raise RequestError(Violation(f"states.{number}", f"{value} is no state of a job"))
        states.append(state)
    return states


def _sequence(token: str) -> int:
    if token and not (token.isascii() and token.isdigit() and len(token) < 19):
        raise RequestError(Violation("page_token", f"{token[:100]!r} is no page token of this list; use none"))
    return int(token or 0)


def _refuse_after(after: int, last: int) -> None:
    if not 0 <= after <= last:
        raise RequestError(
            Violation("after_sequence", f"the job's events have the numbers 1 to {last}, got {after}; 0 asks for all")
        )
