"""Stores to test on, and the few steps that bring a job where a test begins."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from limbeck_server.store.base import Store
from limbeck_server.store.records import (
    PUBLISH,
    Dataset,
    DatasetState,
    FinishedUnit,
    Job,
    Lease,
    SetRecord,
    StoredImage,
    UnitSpec,
)
from limbeck_server.store.sqlite import SqliteStore

STORES: Mapping[str, Callable[[Path], Store]] = {"sqlite": lambda folder: SqliteStore(folder / "ledger.sqlite")}
"""Every implementation: what opens a store that lies in a folder."""

SPEC = {"method": "herding", "pack": "mini"}


def new_job(store: Store, **asked: object) -> Job:
    """A job of which nothing is given but what the test says."""
    wanted = {"owner": "ada", "request_id": "", "kind": "distill", "spec": SPEC, **asked}
    return store.create_job(**wanted)[0]  # type: ignore[arg-type]


def lease(store: Store, worker: str = "w0", *, max_images: int = 1, exclude: Sequence[str] = ()) -> Lease:
    """A lease that there surely is."""
    found = store.lease(worker, max_images=max_images, exclude=exclude)
    assert found is not None
    return found


def running_job(store: Store, *, units: int = 3, images: int = 1, **asked: object) -> Job:
    """A job that is prepared: so many units, each of one class and of so many images. No lease is held."""
    job = new_job(store, **asked)
    # another job's turn may come first
    others = [other.id for other in store.jobs(limit=1000)[0] if other.id != job.id]
    held = lease(store, exclude=others)
    specs = [UnitSpec(index, (index,), images) for index in range(units)]
    store.prepared(held.token, {"header": {}}, specs, num_images=units * images)
    return store.free(held.token)


def image(label: int, position: int = 0, content: str = "") -> StoredImage:
    """An image's record; nothing lies at its address."""
    digest = hashlib.sha256(f"{label} {position} {content}".encode()).hexdigest()
    return StoredImage(label, position, digest, 100, {"file_name": f"{label}/{position:04}.png", "label": label})


def finish(store: Store, held: Lease, *, images: int = 1) -> Job:
    """Finish every unit of a lease, and end it."""
    for unit in held.units:
        made = tuple(image(label, position) for label in unit.class_ids for position in range(images))
        store.finish_unit(held.token, FinishedUnit(unit.index, made))
    return store.free(held.token)


def publish(store: Store, job: Job) -> Job:
    """Publish a job of which nothing else is left to do."""
    held = lease(store, exclude=[other.id for other in store.jobs(limit=1000)[0] if other.id != job.id])
    assert [unit.index for unit in held.units] == [PUBLISH]
    files = {"manifest.json": ("f" * 64, 10)}
    record = SetRecord(id=job.id[::-1], job=job.id, owner=job.owner, path="sets/x", files=files, created_at=5.0)
    store.published(held.token, record, {"peak_nbytes": 7})
    return store.free(held.token)


def succeeded_job(store: Store, **asked: object) -> Job:
    """A job of one unit that is published."""
    job = running_job(store, units=1, **asked)  # type: ignore[arg-type]
    finish(store, lease(store, exclude=[other.id for other in store.jobs(limit=1000)[0] if other.id != job.id]))
    return publish(store, job)


def upload(name: str = "a", *, id: str = "d" * 32, nbytes: int = 10) -> Dataset:
    """A dataset whose upload begins."""
    return Dataset(
        id=id,
        owner="ada",
        display_name=name,
        path=f"datasets/{id}",
        uploaded=True,
        state=DatasetState.UPLOADING,
        nbytes=nbytes,
        digest="e" * 64,
        created_at=5.0,
    )
