"""The job service, through a real channel over a real ledger."""

from pathlib import Path
from typing import Any

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.rpc import jobs_pb2, specs_pb2  # noqa: E402
from limbeck_server.store.records import DatasetState  # noqa: E402
from limbeck_server.trust.identity import Identity, Quotas  # noqa: E402
from limbeck_server.wire.structs import struct_of  # noqa: E402
from support.services import jobs  # noqa: E402
from support.serving import (  # noqa: E402
    ID,
    Backing,
    collected,
    fields_of,
    make_job,
    ready_dataset,
    refused,
    run,
)

ALICE = Identity("alice", frozenset({"read", "submit"}))
BOB = Identity("bob", frozenset({"read", "submit"}))


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
