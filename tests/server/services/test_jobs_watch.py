"""Following jobs: every event once, from wherever one goes on."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.rpc import jobs_pb2  # noqa: E402
from limbeck_server.store.records import Failure  # noqa: E402
from support.services import Steps, jobs  # noqa: E402
from support.serving import (  # noqa: E402
    Backing,
    collected,
    fail_next,
    fields_of,
    finish_next_unit,
    make_job,
    prepare,
    publish,
    refused,
    run,
)


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
