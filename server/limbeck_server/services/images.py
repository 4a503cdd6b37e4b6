"""Images of jobs and sets one by one, each with its number in an order that stays."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import grpc

from limbeck.errors import DataError
from limbeck_server.rpc import sets_pb2
from limbeck_server.store.blobs import Blobs
from limbeck_server.store.records import FINAL, Job, JobState, SetRecord, StoredImage
from limbeck_server.store.threaded import ThreadedStore
from limbeck_server.wire.refusal import Refusal, RefusedError, RequestError, Violation
from limbeck_server.wire.sets import image_message

_IMAGES_AT_A_TIME = 64
_METADATA = Path("train", "metadata.jsonl")


async def images_of_job(
    store: ThreadedStore, blobs: Blobs, job: str, after: int
) -> AsyncGenerator[sets_pb2.Image, None]:
    """The images of a job from number `after` + 1 on, as they are finished.

    Raises:
        RequestError: The job has not `after` images.
        RefusedError: After its images, of a job that failed or was cancelled.
    """
    _refuse_after(after, (await store.run(lambda store: store.job(job))).finished_images)
    async with store.subscribe(job) as changed:
        while True:
            changed.clear()
            now, images = await _next_images(store, job, after)
            for number, image in images:
                yield image_message(number, image, await asyncio.to_thread(_stored, blobs, image))
                after = number
            if images:
                continue
            if now.state in FINAL:
                _refuse_unfinished(now)
                return
            await changed.wait()


async def images_of_set(record: SetRecord, after: int) -> AsyncGenerator[sets_pb2.Image, None]:
    """The images of a set from number `after` + 1 on, by label and position.

    Raises:
        RequestError: The set has not `after` images.
        RefusedError: A file is lost.
    """
    folder = Path(record.path)
    _refuse_after(after, await asyncio.to_thread(_count, folder))
    while images := await asyncio.to_thread(_listed, folder, after):
        for number, image in images:
            yield image_message(number, image, await asyncio.to_thread(_published, record, image))
            after = number


async def _next_images(store: ThreadedStore, job: str, after: int) -> tuple[Job, list[tuple[int, StoredImage]]]:
    return await store.run(lambda store: (store.job(job), store.images(job, after=after, limit=_IMAGES_AT_A_TIME)))


def _stored(blobs: Blobs, image: StoredImage) -> bytes:
    try:
        return blobs.read(image.digest)
    except DataError as error:
        raise _lost(str(error)) from error


@contextmanager
def _metadata(folder: Path) -> Iterator[Iterator[bytes]]:
    """The lines of a set's metadata, of which each is a row."""
    try:
        with (folder / _METADATA).open("rb") as lines:
            yield lines
    except (OSError, ValueError) as error:
        raise _lost(f"{_METADATA} cannot be read: {error}") from error


def _count(folder: Path) -> int:
    with _metadata(folder) as lines:
        return sum(1 for _ in lines)


def _listed(folder: Path, after: int) -> list[tuple[int, StoredImage]]:
    """The next rows of the metadata, with their numbers."""
    with _metadata(folder) as lines:
        rows = [json.loads(line) for line in islice(lines, after, after + _IMAGES_AT_A_TIME)]
    return [(after + number, _image(row)) for number, row in enumerate(rows, 1)]


def _image(row: dict[str, object]) -> StoredImage:
    # the file's name is the position; the row may say something else by "index"
    name = str(row["file_name"])
    return StoredImage(int(str(row["label"])), int(Path(name).stem), str(row["sha256"]), 0, row)


def _published(record: SetRecord, image: StoredImage) -> bytes:
    path = Path(record.path, "train", str(image.row["file_name"]))
    try:
        png = path.read_bytes()
    except OSError as error:
        raise _lost(f"{path.name} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(png).hexdigest() != image.digest:
        raise _lost(f"{image.row['file_name']} is not what it was when the set was made")
    return png


def _refuse_after(after: int, last: int) -> None:
    if not 0 <= after <= last:
        raise RequestError(
            Violation("after_number", f"its images have the numbers 1 to {last}, got {after}; 0 asks for all")
        )


def _refuse_unfinished(job: Job) -> None:
    """A stream that ends like any other would be taken for a whole set."""
    if job.state is JobState.SUCCEEDED:
        return
    why = f": {job.failure.message}" if job.failure else ""
    raise RefusedError(
        Refusal(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"JOB_{job.state.name}",
            f"the job {job.state.value} with {job.finished_images} of {job.num_images} images{why}",
        )
    )


def _lost(why: str) -> RefusedError:
    return RefusedError(
        Refusal(
            grpc.StatusCode.DATA_LOSS,
            "IMAGE_LOST",
            f"{why}; if nobody deleted it meanwhile, the server's disk is damaged",
        )
    )
