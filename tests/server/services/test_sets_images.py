"""Images as they are finished: each once, from wherever one goes on, no faster than they are taken."""

import asyncio
import hashlib
from pathlib import Path

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.rpc import sets_pb2  # noqa: E402
from limbeck_server.store.base import Store  # noqa: E402
from limbeck_server.store.blobs import Blobs  # noqa: E402
from limbeck_server.store.records import Failure, FinishedUnit, StoredImage  # noqa: E402
from support.services import a_set, sets  # noqa: E402
from support.serving import (  # noqa: E402
    ID,
    Backing,
    collected,
    fail_next,
    fields_of,
    finish_next_unit,
    make_job,
    prepare,
    refused,
    run,
)


async def a_running_job(backing: Backing, num_units: int = 3, ipc: int = 2) -> str:
    await backing.do(make_job)
    job = await backing.do(lambda store: prepare(store, num_units, ipc))
    return job.id


async def one_more_unit(backing: Backing, ipc: int = 2) -> None:
    await backing.do(lambda store: finish_next_unit(store, backing.blobs, ipc=ipc))


def of(name: str, after: int = 0) -> sets_pb2.StreamImagesRequest:
    return sets_pb2.StreamImagesRequest(name=name, after_number=after)


def test_images_of_a_job_come_while_it_runs(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            job = await a_running_job(backing)
            stream = aiter(stub.StreamImages(of(f"jobs/{job}")))
            for _ in range(3):
                await one_more_unit(backing)
                two = [(await anext(stream)).image for _ in range(2)]
                assert len({image.label for image in two}) == 1

    run(test())


def test_images_of_a_finished_job_are_all_that_it_made(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set(backing)
            images = [one.image for one in await collected(stub.StreamImages(of(f"jobs/{record.job}")))]
            assert [image.number for image in images] == [1, 2, 3, 4]
            assert {(image.label, image.position) for image in images} == {(0, 0), (0, 1), (1, 0), (1, 1)}

    run(test())


@pytest.mark.parametrize("whose", ["job", "set"])
def test_images_have_the_bytes_of_their_digest(tmp_path: Path, whose: str) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set(backing)
            name = f"jobs/{record.job}" if whose == "job" else f"distilledSets/{record.id}"
            for one in await collected(stub.StreamImages(of(name))):
                assert hashlib.sha256(one.image.png).hexdigest() == one.image.sha256
                assert one.image.row["class_name"] == one.image.class_name == f"class {one.image.label}"

    run(test())


@pytest.mark.parametrize("whose", ["job", "set"])
def test_going_on_after_any_image_gives_the_rest_once(tmp_path: Path, whose: str) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set(backing)
            name = f"jobs/{record.job}" if whose == "job" else f"distilledSets/{record.id}"
            whole = await collected(stub.StreamImages(of(name)))
            for after in range(len(whole) + 1):
                assert await collected(stub.StreamImages(of(name, after))) == whole[after:]

    run(test())


def test_images_of_a_set_come_by_label_and_position(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set(backing)
            images = [one.image for one in await collected(stub.StreamImages(of(f"distilledSets/{record.id}")))]
            assert [(image.label, image.position) for image in images] == [(0, 0), (0, 1), (1, 0), (1, 1)]

    run(test())


def test_a_set_outlives_its_job(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set(backing)
            await backing.do(lambda store: store.delete_job(record.job))
            assert len(await collected(stub.StreamImages(of(f"distilledSets/{record.id}")))) == 4

    run(test())


def test_images_of_a_failed_job_end_with_its_failure(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            job = await a_running_job(backing)
            await one_more_unit(backing)
            await backing.do(lambda store: fail_next(store, Failure("DATA_ERROR", "class 2 is empty")))
            stream = aiter(stub.StreamImages(of(f"jobs/{job}")))
            assert len([await anext(stream) for _ in range(2)]) == 2
            refusal = (await refused(anext(stream))).refusal
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_FAILED")
            assert "class 2 is empty" in refusal.message

    run(test())


def test_images_of_a_cancelled_job_end_with_its_cancellation(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            job = await a_running_job(backing)
            await backing.do(lambda store: store.request_cancel(job))
            assert (await refused(collected(stub.StreamImages(of(f"jobs/{job}"))))).refusal.reason == "JOB_CANCELLED"

    run(test())


def test_an_image_that_was_lost_is_said_and_not_sent(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set(backing)
            next(Path(record.path).rglob("0001.png")).write_bytes(b"damaged")
            refusal = (await refused(collected(stub.StreamImages(of(f"distilledSets/{record.id}"))))).refusal
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.DATA_LOSS, "IMAGE_LOST")

    run(test())


@pytest.mark.parametrize("after", [-1, 5])
@pytest.mark.parametrize("whose", ["job", "set"])
def test_going_on_after_an_image_that_never_was_is_refused(tmp_path: Path, whose: str, after: int) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set(backing)
            name = f"jobs/{record.job}" if whose == "job" else f"distilledSets/{record.id}"
            assert fields_of(await refused(collected(stub.StreamImages(of(name, after))))) == ["after_number"]

    run(test())


def test_a_stream_that_is_dropped_leaves_no_subscriber(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            job = await a_running_job(backing)
            await one_more_unit(backing)
            stream = stub.StreamImages(of(f"jobs/{job}"))
            await stream.read()
            assert job in backing.store._subscribers
            stream.cancel()
            while backing.store._subscribers:
                await asyncio.sleep(0.01)

    run(test())


@pytest.mark.parametrize("name", ["", "set", "jobs/..", f"distilledSets/{ID}/x", f"datasets/{ID}"])
def test_a_name_that_is_none_is_refused_by_field(tmp_path: Path, name: str) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, _):
            assert fields_of(await refused(collected(stub.StreamImages(of(name))))) == ["name"]

    run(test())


class CountingBlobs(Blobs):
    """Blobs that count what is read of them."""

    reads = 0

    def read(self, digest: str) -> bytes:
        self.reads += 1
        return super().read(digest)


def test_images_are_read_no_faster_than_they_are_taken(tmp_path: Path) -> None:
    async def test() -> None:
        blobs = CountingBlobs(tmp_path / "blobs")

        def fill(store: Store) -> str:
            make_job(store)
            job = prepare(store, 1, 200)
            lease = store.lease("worker", max_images=1)
            assert lease is not None
            digest = blobs.put(hashlib.shake_128(b"image").digest(200_000))
            images = (StoredImage(0, position, digest, 200_000, {"class_name": "a"}) for position in range(200))
            store.finish_unit(lease.token, FinishedUnit(0, tuple(images)))
            return job.id

        async with sets(tmp_path, blobs) as (stub, backing):
            stream = stub.StreamImages(of(f"jobs/{await backing.do(fill)}"))
            await stream.read()
            reads = -1
            while reads < blobs.reads:
                reads = blobs.reads
                await asyncio.sleep(0.2)
            stream.cancel()
            assert reads < 200

    run(test())
