"""The job service, through a real channel over a real ledger."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.rpc import jobs_pb2, jobs_pb2_grpc, specs_pb2  # noqa: E402
from limbeck_server.services.jobs import Jobs  # noqa: E402
from limbeck_server.store.base import DatasetState, Failure  # noqa: E402
from limbeck_server.trust.identity import Identity, Quotas  # noqa: E402
from limbeck_server.wire.structs import struct_of  # noqa: E402
from support.serving import (  # noqa: E402
    ID,
    Backing,
    collected,
    fail_next,
    fields_of,
    finish_next_unit,
    make_job,
    prepare,
    publish,
    ready_dataset,
    refused,
    rules,
    run,
    serving,
)

ALICE = Identity("alice", frozenset({"read", "submit"}))
BOB = Identity("bob", frozenset({"read", "submit"}))


class Steps:
    """Progress that a test sets."""

    def __init__(self) -> None:
        self.now: dict[str, Mapping[str, Any]] = {}

    def latest(self, job: str) -> Mapping[str, Any] | None:
        return self.now.get(job)


@asynccontextmanager
async def jobs(
    folder: Path, steps: Steps | None = None, woken: list[None] | None = None
) -> AsyncIterator[tuple[Any, Backing]]:
    def register(backing: Backing) -> None:
        service = Jobs(
            backing.store,
            rules=rules(),
            progress=steps or Steps(),
            wake=lambda: woken.append(None) if woken is not None else None,
        )
        jobs_pb2_grpc.add_JobServiceServicer_to_server(service, backing.server)

    async with serving(folder, register) as backing:
        yield jobs_pb2_grpc.JobServiceStub(backing.channel), backing


async def asked(backing: Backing, **fields: Any) -> jobs_pb2.CreateJobRequest:
    dataset = await backing.do(lambda store: ready_dataset(store, owner=backing.caller.identity.name))
    spec = specs_pb2.DistillSpec(method="random", dataset=f"datasets/{dataset.id}")
    return jobs_pb2.CreateJobRequest(distill=spec, **fields)


def test_a_created_job_is_in_the_ledger_as_it_was_asked(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            request = await asked(backing, priority=3)
            request.distill.ipc = 5
            created = (await stub.CreateJob(request)).job
            found = (await stub.GetJob(jobs_pb2.GetJobRequest(name=created.name))).job
            assert found == created
            assert (found.state, found.priority) == (jobs_pb2.JOB_STATE_PENDING, 3)
            assert (found.distill.method, found.distill.ipc, found.distill.pack) == ("random", 5, "packs/mini")

    run(test())


def test_a_new_job_wakes_the_scheduler(tmp_path: Path) -> None:
    async def test() -> None:
        woken: list[None] = []
        async with jobs(tmp_path, woken=woken) as (stub, backing):
            await stub.CreateJob(await asked(backing))
            assert len(woken) == 1

    run(test())


def test_a_repeated_request_id_gives_the_first_job(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            request = await asked(backing, request_id="once")
            names = {(await stub.CreateJob(request)).job.name for _ in range(5)}
            assert len(names) == 1

    run(test())


def test_a_request_id_with_another_spec_is_a_conflict(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            request = await asked(backing, request_id="once")
            await stub.CreateJob(request)
            request.distill.seed = 1
            refusal = (await refused(stub.CreateJob(request))).refusal
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_CONFLICT")

    run(test())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"method": "d4n"}, "distill.method"),
        ({"method": "d4m", "settings": struct_of({"num_stepz": 3})}, "distill.settings.num_stepz"),
        ({"method": "d4m", "settings": struct_of({"num_steps": "many"})}, "distill.settings.num_steps"),
        ({"method": "d4m", "settings": struct_of({"num_steps": float("inf")})}, "distill.settings.num_steps"),
        ({"dataset": "digits"}, "distill.dataset"),
        ({"dataset": f"datasets/{ID}"}, "distill.dataset"),
        ({"pack": "packs/maxi"}, "distill.pack"),
        ({"pack": "../../etc"}, "distill.pack"),
        ({"ipc": -1}, "distill.ipc"),
        ({"backend": "abacus"}, "distill.backend"),
    ],
)
def test_a_field_that_cannot_work_is_named_by_its_path(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            request = await asked(backing)
            request.distill.MergeFrom(specs_pb2.DistillSpec(**change))
            error = await refused(stub.CreateJob(request))
            assert error.refusal.code is grpc.StatusCode.INVALID_ARGUMENT
            assert field in fields_of(error)

    run(test())


def test_whole_numbers_of_settings_fit_fields_that_are_integers(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            request = await asked(backing)
            request.distill.method = "d4m"
            request.distill.settings.update({"num_steps": 4.0})
            job = (await stub.CreateJob(request)).job
            stored = await backing.do(lambda store: store.job(job.name.removeprefix("jobs/")))
            assert isinstance(stored.spec["settings"]["num_steps"], int)

    run(test())


def test_a_request_without_a_spec_says_what_is_missing(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, _):
            error = await refused(stub.CreateJob(jobs_pb2.CreateJobRequest()))
            assert fields_of(error) == ["distill"]

    run(test())


def test_a_dataset_that_is_not_ready_is_no_fault_of_the_request(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            dataset = await backing.do(lambda store: ready_dataset(store, state=DatasetState.UPLOADING))
            spec = specs_pb2.DistillSpec(method="random", dataset=f"datasets/{dataset.id}")
            refusal = (await refused(stub.CreateJob(jobs_pb2.CreateJobRequest(distill=spec)))).refusal
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DATASET_NOT_READY")

    run(test())


def test_a_quota_is_said_with_a_time_to_retry(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            backing.caller.identity = Identity("alice", ALICE.scopes, Quotas(max_unfinished_jobs=1))
            request = await asked(backing)
            await stub.CreateJob(request)
            refusal = (await refused(stub.CreateJob(request))).refusal
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
            assert refusal.retry_seconds

    run(test())


def test_a_priority_above_everybody_needs_an_admin(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            backing.caller.identity = ALICE
            refusal = (await refused(stub.CreateJob(await asked(backing, priority=1)))).refusal
            assert refusal.code is grpc.StatusCode.PERMISSION_DENIED

    run(test())


@pytest.mark.parametrize("call", ["GetJob", "CancelJob", "DeleteJob"])
def test_an_unknown_job_is_not_found_with_its_name(tmp_path: Path, call: str) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, _):
            request = getattr(jobs_pb2, f"{call}Request")(name=f"jobs/{ID}")
            refusal = (await refused(getattr(stub, call)(request))).refusal
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
            assert ID in refusal.message

    run(test())


@pytest.mark.parametrize("call", ["GetJob", "CancelJob", "DeleteJob", "WatchJob"])
def test_a_job_of_somebody_else_looks_as_if_it_were_not_there(tmp_path: Path, call: str) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            job = await backing.do(lambda store: make_job(store, owner="alice"))
            backing.caller.identity = BOB
            request = getattr(jobs_pb2, f"{call}Request")(name=f"jobs/{job.id}")
            answer = getattr(stub, call)(request)
            error = await refused(collected(answer) if call == "WatchJob" else answer)
            assert error.refusal.code is grpc.StatusCode.NOT_FOUND

    run(test())


def test_a_dataset_of_somebody_else_cannot_be_distilled(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            backing.caller.identity = ALICE
            request = await asked(backing)
            backing.caller.identity = BOB
            assert fields_of(await refused(stub.CreateJob(request))) == ["distill.dataset"]

    run(test())


def test_pages_show_every_job_once_while_others_are_made(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            made = {(await backing.do(lambda store, n=n: make_job(store, number=n))).id for n in range(7)}
            shown: list[str] = []
            token = ""
            while True:
                page = await stub.ListJobs(jobs_pb2.ListJobsRequest(page_size=2, page_token=token))
                shown += [job.name.removeprefix("jobs/") for job in page.jobs]
                await backing.do(lambda store: make_job(store, number=99))
                if not (token := page.next_page_token):
                    break
            assert len(shown) == len(set(shown))
            assert set(shown) == made

    run(test())


def test_a_list_shows_only_what_belongs_to_its_caller(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            for owner in ("alice", "bob", "alice"):
                await backing.do(lambda store, owner=owner: make_job(store, owner=owner))
            backing.caller.identity = ALICE
            found = (await stub.ListJobs(jobs_pb2.ListJobsRequest())).jobs
            assert [job.owner for job in found] == ["alice", "alice"]

    run(test())


def test_a_list_keeps_to_the_states_that_were_asked(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            job = await backing.do(make_job)
            await backing.do(lambda store: make_job(store, number=1))
            await stub.CancelJob(jobs_pb2.CancelJobRequest(name=f"jobs/{job.id}"))
            asked_states = jobs_pb2.ListJobsRequest(states=[jobs_pb2.JOB_STATE_CANCELLED])
            found = (await stub.ListJobs(asked_states)).jobs
            assert [one.name for one in found] == [f"jobs/{job.id}"]

    run(test())


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (jobs_pb2.ListJobsRequest(page_size=-1), "page_size"),
        (jobs_pb2.ListJobsRequest(page_token="§"), "page_token"),
        (jobs_pb2.ListJobsRequest(states=[0]), "states.0"),
        (jobs_pb2.ListJobsRequest(states=[5, 77]), "states.1"),
    ],
)
def test_a_list_that_cannot_be_is_refused_by_field(tmp_path: Path, request_: Any, field: str) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, _):
            assert fields_of(await refused(stub.ListJobs(request_))) == [field]

    run(test())


def test_a_cancelled_job_stays_and_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            job = await backing.do(make_job)
            cancelled = (await stub.CancelJob(jobs_pb2.CancelJobRequest(name=f"jobs/{job.id}"))).job
            assert cancelled.state == jobs_pb2.JOB_STATE_CANCELLED

    run(test())


def test_a_job_that_is_not_final_cannot_be_deleted(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            job = await backing.do(make_job)
            refusal = (await refused(stub.DeleteJob(jobs_pb2.DeleteJobRequest(name=f"jobs/{job.id}")))).refusal
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_NOT_FINAL")

    run(test())


def test_a_deleted_job_is_gone(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            job = await backing.do(make_job)
            await backing.do(lambda store: store.request_cancel(job.id))
            await stub.DeleteJob(jobs_pb2.DeleteJobRequest(name=f"jobs/{job.id}"))
            error = await refused(stub.GetJob(jobs_pb2.GetJobRequest(name=f"jobs/{job.id}")))
            assert error.refusal.code is grpc.StatusCode.NOT_FOUND

    run(test())


async def whole_job(backing: Backing, num_units: int = 3) -> str:
    """A job to its end, with a retry on the way."""
    job = await backing.do(make_job)
    await backing.do(lambda store: prepare(store, num_units, 2))
    await backing.do(_retry)
    for _ in range(num_units):
        await backing.do(lambda store: finish_next_unit(store, backing.blobs, ipc=2))
    await backing.do(lambda store: publish(store, backing.folder / "set", num_classes=num_units, ipc=2))
    return job.id


def _retry(store: Any) -> None:
    lease = store.lease("worker", max_images=1)
    store.free(lease.token, retry="the worker died")


def test_watching_a_finished_job_gives_each_event_once_and_ends(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            job = await whole_job(backing)
            events = [one.event for one in await collected(stub.WatchJob(jobs_pb2.WatchJobRequest(name=f"jobs/{job}")))]
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            assert events[-1].state_change.state == jobs_pb2.JOB_STATE_SUCCEEDED

    run(test())


def test_watching_goes_on_after_any_event(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            name = f"jobs/{await whole_job(backing)}"
            whole = await collected(stub.WatchJob(jobs_pb2.WatchJobRequest(name=name)))
            for after in range(len(whole) + 1):
                rest = await collected(stub.WatchJob(jobs_pb2.WatchJobRequest(name=name, after_sequence=after)))
                assert rest == whole[after:]

    run(test())


def test_events_in_pages_are_those_of_the_watch(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            name = f"jobs/{await whole_job(backing)}"
            watched = [one.event for one in await collected(stub.WatchJob(jobs_pb2.WatchJobRequest(name=name)))]
            listed: list[Any] = []
            token = ""
            while True:
                asked_page = jobs_pb2.ListJobEventsRequest(parent=name, page_size=3, page_token=token)
                page = await stub.ListJobEvents(asked_page)
                listed += page.events
                if not (token := page.next_page_token):
                    break
            assert listed == watched

    run(test())


def test_a_watch_that_began_before_the_work_sees_all_of_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            job = await backing.do(make_job)
            watches = [
                asyncio.create_task(collected(stub.WatchJob(jobs_pb2.WatchJobRequest(name=f"jobs/{job.id}"))))
                for _ in range(5)
            ]
            await backing.do(lambda store: prepare(store, 2, 1))
            for _ in range(2):
                await backing.do(lambda store: finish_next_unit(store, backing.blobs, ipc=1))
            await backing.do(lambda store: fail_next(store, Failure("DATA_ERROR", "no")))
            kept = await backing.do(lambda store: store.events(job.id))
            for seen in await asyncio.gather(*watches):
                assert [one.event.sequence for one in seen] == [event.sequence for event in kept]

    run(test())


def test_a_watch_shows_progress_between_events(tmp_path: Path) -> None:
    async def test() -> None:
        steps = Steps()
        async with jobs(tmp_path, steps) as (stub, backing):
            job = await backing.do(make_job)
            steps.now[job.id] = {
                "stage": "generating",
                "done": 3,
                "total": 50,
                "images_per_second": 0.5,
                "private_nbytes": 7,
            }
            watch = stub.WatchJob(jobs_pb2.WatchJobRequest(name=f"jobs/{job.id}"))
            first, tick = (await watch.read()).event, (await watch.read()).event
            watch.cancel()
            assert (first.sequence, tick.sequence) == (1, 0)
            assert (tick.progress.stage, tick.progress.done, tick.progress.total) == ("generating", 3, 50)

    run(test())


def test_a_watch_ends_when_its_job_is_deleted(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            job = await backing.do(make_job)
            watch = aiter(stub.WatchJob(jobs_pb2.WatchJobRequest(name=f"jobs/{job.id}")))
            await anext(watch)

            def cancel_and_delete(store: Any) -> None:
                store.request_cancel(job.id)
                store.delete_job(job.id)

            await backing.do(cancel_and_delete)
            error = await refused(collected(watch))
            assert error.refusal.code is grpc.StatusCode.NOT_FOUND

    run(test())


def test_a_watch_that_is_dropped_leaves_no_subscriber(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            job = await backing.do(make_job)
            watch = stub.WatchJob(jobs_pb2.WatchJobRequest(name=f"jobs/{job.id}"))
            await watch.read()
            assert job.id in backing.store._subscribers
            watch.cancel()
            while backing.store._subscribers:
                await asyncio.sleep(0.01)

    run(test())


@pytest.mark.parametrize("after", [-1, 2])
def test_a_watch_after_an_event_that_never_was_is_refused(tmp_path: Path, after: int) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as (stub, backing):
            job = await backing.do(make_job)
            request = jobs_pb2.WatchJobRequest(name=f"jobs/{job.id}", after_sequence=after)
            assert fields_of(await refused(collected(stub.WatchJob(request)))) == ["after_sequence"]

    run(test())
