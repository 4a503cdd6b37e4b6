"""What the pages show, taken from the ledger, the blobs and the workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from limbeck_server.store.blobs import Blobs
from limbeck_server.store.errors import NotFoundError
from limbeck_server.store.records import Job, JobEvent, StoredImage
from limbeck_server.store.threaded import ThreadedStore
from limbeck_server.trust.identity import Identity
from limbeck_server.workers.handle import WorkerHandle


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """What a worker does now.

    Args:
        worker, device, state: Its id, what it runs on, and what it does in a word.
        job: The id of the job that it works on, or "".
        owner: Of that job.
        stage, done, total: The steps of the stage that it is in.
        private_nbytes, planned_nbytes: Private memory that it takes, and that its job's plan says; 0 if not known.
    """

    worker: str
    device: str
    state: str
    job: str = ""
    owner: str = ""
    stage: str = ""
    done: int = 0
    total: int = 0
    private_nbytes: int = 0
    planned_nbytes: int = 0


@dataclass(frozen=True)
class NumberedImage:
    """A finished image and its number in the order in which they were finished, from 1."""

    number: int
    image: StoredImage


class View(Protocol):
    """What the pages ask for. Nobody sees more than the identity may: the rest is not there."""

    async def jobs(self, who: Identity, *, limit: int, after: str = "") -> tuple[list[Job], str]:
        """A page of jobs, newest first, and what asks for the next; "" after the last."""
        ...

    async def job(self, who: Identity, job: str, *, num_events: int, num_images: int) -> JobView:
        """A job with the last of its events and images; NotFoundError if it is not there."""
        ...

    async def image_file(self, who: Identity, job: str, number: int) -> Path:
        """The PNG file of an image; NotFoundError if it is not there."""
        ...

    def workers(self, who: Identity) -> list[WorkerRow]:
        """Every worker; whose job is another's shows only that it has work."""
        ...


@dataclass(frozen=True)
class JobView:
    """A job, its last events and its last images, each in the order in which they happened."""

    job: Job
    events: Sequence[JobEvent]
    images: Sequence[NumberedImage]


class LedgerView:
    """The `View` of a server.

    Args:
        store: The ledger.
        blobs: Where images are.
        workers: The workers that there are now.
    """

    def __init__(self, store: ThreadedStore, blobs: Blobs, workers: Callable[[], Sequence[WorkerRow]]) -> None:
        self._store = store
        self._blobs = blobs
        self._workers = workers

    async def jobs(self, who: Identity, *, limit: int, after: str = "") -> tuple[list[Job], str]:
        owner = None if who.is_admin else who.name
        return await self._store.run(lambda store: store.jobs(owner=owner, limit=limit, after=after))

    async def job(self, who: Identity, job: str, *, num_events: int, num_images: int) -> JobView:
        found = await self._seen(who, job)
        after_event, after_image = max(found.sequence - num_events, 0), max(found.finished_images - num_images, 0)
        events, images = await self._store.run(
            lambda store: (
                store.events(job, after=after_event, limit=num_events),
                store.images(job, after=after_image, limit=num_images),
            )
        )
        return JobView(found, events, [NumberedImage(*one) for one in images])

    async def image_file(self, who: Identity, job: str, number: int) -> Path:
        await self._seen(who, job)
        found = await self._store.run(lambda store: store.images(job, after=number - 1, limit=1))
        if not found or found[0][0] != number:
            raise NotFoundError(f"job {job} has no image number {number}")
        return self._blobs.path(found[0][1].digest)

    def workers(self, who: Identity) -> list[WorkerRow]:
        return [row if _may_see(who, row.owner) else _hidden(row) for row in self._workers()]

    async def _seen(self, who: Identity, job: str) -> Job:
        found = await self._store.run(lambda store: store.job(job))
        if not _may_see(who, found.owner):
            raise NotFoundError(f"there is no job {job}")
        return found


def worker_row(handle: WorkerHandle) -> WorkerRow:
    """A worker as the front knows it."""
    job = handle.lease.job if handle.lease else None
    plan = (job.prepared or {}).get("plan") or {} if job else {}
    return WorkerRow(
        worker=handle.worker,
        device=handle.device,
        state=handle.state.value,
        job=job.id if job else "",
        owner=job.owner if job else "",
        stage=handle.beat.stage if job else "",
        done=handle.beat.done,
        total=handle.beat.total,
        private_nbytes=handle.beat.private_nbytes,
        planned_nbytes=plan.get("peak_nbytes", 0),
    )


def _may_see(who: Identity, owner: str) -> bool:
    return who.is_admin or who.name == owner


def _hidden(row: WorkerRow) -> WorkerRow:
    return WorkerRow(worker=row.worker, device=row.device, state=row.state)
