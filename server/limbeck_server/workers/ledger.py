"""What workers report, written into the ledger; and what the ledger has to do, as assignments."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from limbeck.errors import LimbeckError
from limbeck_server.rpc import worker_pb2
from limbeck_server.spec import parse
from limbeck_server.store.base import Store
from limbeck_server.store.errors import NotFoundError, StoreFullError, StoreReadOnlyError
from limbeck_server.store.records import (
    FINAL,
    PUBLISH,
    Failure,
    FinishedUnit,
    Job,
    JobState,
    Lease,
    SetRecord,
    StoredImage,
    UnitSpec,
)
from limbeck_server.store.threaded import ThreadedStore
from limbeck_server.trust.paths import AllowedRoots
from limbeck_server.wire.names import dataset_id, is_set_name, set_id
from limbeck_server.wire.places import text_without_root

_log = logging.getLogger(__name__)
_AGAIN_SECONDS = 2.0

T = TypeVar("T")


class WorkLedger:
    """The ledger, as the pool uses it. What a worker reports is not lost while the disk is full: it is tried again.

    Args:
        store: The ledger.
        roots: Where registered datasets must lie, still.
        root: The server's folder, of which jobs say nothing.
    """

    def __init__(self, store: ThreadedStore, roots: AllowedRoots, root: Path) -> None:
        """Nothing is wrong."""
        self._store = store
        self._roots = roots
        self._root = root
        self.trouble = ""
        """Why the ledger takes nothing at the moment; "" if it does."""
        self.peaks: dict[str, int] = {}
        """The most private memory that a worker took for a job, by job."""

    async def lease(self, worker: str, *, max_images: int, exclude: list[str]) -> Lease | None:
        """Claim work for a worker."""
        return await self._insist(lambda store: store.lease(worker, max_images=max_images, exclude=exclude))

    async def assignment(self, lease: Lease) -> worker_pb2.Assignment:
        """What the worker needs to work under the lease.

        Raises:
            LimbeckError: A dataset or a set is gone.
        """
        job = lease.job
        publishes = lease.units[0].index == PUBLISH
        resources = await self._store.run(lambda store: _resources(store, job, self._roots))
        finished = await self._store.run(lambda store: store.finished_units(job.id)) if publishes else []
        return worker_pb2.Assignment(
            lease=lease.token,
            job=job.id,
            kind=job.kind,
            spec_json=json.dumps(job.spec),
            prepared_json=json.dumps(job.prepared) if job.prepared else "",
            units=[
                worker_pb2.Unit(index=unit.index, class_ids=unit.class_ids, checkpoint=unit.checkpoint or "")
                for unit in lease.units
            ],
            finished=[_finished_message(lease.token, unit) for unit in finished],
            resources_json=json.dumps(resources),
        )

    async def is_cancelled(self, job: str) -> bool:
        """Whether somebody asked for the job's end."""
        return (await self._store.run(lambda store: store.job(job))).cancel_requested

    async def somebody_waits(self, job: Job, held: Collection[str]) -> bool:
        """Whether a job of no lower priority could go on, and nobody works on it.

        Args:
            job: The one that works.
            held: The jobs that somebody works on.
        """
        unfinished = [state for state in JobState if state not in FINAL]
        others, _ = await self._store.run(lambda store: store.jobs(states=unfinished, limit=100))
        return any(one.id not in held and one.priority >= job.priority and not one.waiting_for for one in others)

    async def prepared(self, said: worker_pb2.Prepared) -> None:
        """A job is prepared."""
        units = [UnitSpec(unit.index, tuple(unit.class_ids), unit.num_images) for unit in said.units]
        prepared = json.loads(said.prepared_json)
        await self._insist(lambda store: store.prepared(said.lease, prepared, units, num_images=said.num_images))

    async def unit_finished(self, said: worker_pb2.UnitFinished) -> Job:
        """A unit is whole."""
        unit = FinishedUnit(
            said.index,
            tuple(
                StoredImage(one.label, one.position, one.digest, one.nbytes, json.loads(one.row_json))
                for one in said.images
            ),
            said.arrays or None,
            json.loads(said.result_json) if said.result_json else None,
        )
        return await self._insist(lambda store: store.finish_unit(said.lease, unit))

    async def checkpoint_kept(self, said: worker_pb2.CheckpointKept) -> None:
        """A unit's state is kept."""
        await self._insist(lambda store: store.keep_checkpoint(said.lease, said.index, said.digest))

    async def noted(self, job: str, said: worker_pb2.Noted) -> None:
        """Something for the job's log."""
        detail = json.loads(said.detail_json)
        await self._insist(lambda store: store.add_event(job, said.kind, detail))

    async def published(self, job: Job, said: worker_pb2.Published) -> None:
        """A set is in its place."""
        record = SetRecord(
            id=said.distilled_set,
            job=job.id,
            owner=job.owner,
            path=said.path,
            files={one.path: (one.digest, one.nbytes) for one in said.files},
            created_at=time.time(),
        )
        result = {**json.loads(said.result_json), "peak_nbytes": self.peaks.pop(job.id, 0)}
        await self._insist(lambda store: store.published(said.lease, record, result))

    async def free(self, token: str, *, retry: str, max_attempts: int) -> Job:
        """End a lease; `retry` says why its holder failed, "" if it did not."""
        told = text_without_root(retry, self._root)
        return await self._insist(lambda store: store.free(token, retry=told, max_attempts=max_attempts))

    async def fail(self, token: str, failure: Failure) -> Job:
        """End a lease and its job."""
        told = replace(failure, message=text_without_root(failure.message, self._root))
        return await self._insist(lambda store: store.fail(token, told))

    async def set_waiting(self, job: str, reason: str) -> None:
        """Say what keeps a job from going on."""
        told = text_without_root(reason, self._root)
        await self._insist(lambda store: store.set_waiting(job, told))

    async def free_all(self) -> int:
        """Free what the front before this one had leased."""
        return await self._insist(lambda store: store.free_all())

    async def _insist(self, call: Callable[[Store], T]) -> T:
        """Make a call until the disk takes it."""
        while True:
            try:
                result = await self._store.run(call)
            except (StoreFullError, StoreReadOnlyError) as error:
                if not self.trouble:
                    _log.error("ledger_refuses reason=%s", error)
                self.trouble = str(error)
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                self.trouble = ""
                return result


def resource_path(store: Store, resource: str, roots: AllowedRoots) -> str:
    """Where the dataset or the distilled set of that resource name lies.

    Raises:
        NotFoundError: It is not there.
        DataError: A registered dataset does not lie below an allowed root (any more): a link was changed since.
    """
    if is_set_name(resource):
        return store.distilled_set(set_id(resource)).path
    dataset = store.dataset(dataset_id(resource))
    return dataset.path if dataset.uploaded else str(roots.resolve(dataset.path))


def _resources(store: Store, job: Job, roots: AllowedRoots) -> dict[str, str]:
    try:
        return {one: resource_path(store, one, roots) for one in parse(job.kind, job.spec).references()}
    except LimbeckError as error:
        raise NotFoundError(f"what job {job.id} reads is gone: {error}") from error


def _finished_message(lease: str, unit: FinishedUnit) -> worker_pb2.UnitFinished:
    return worker_pb2.UnitFinished(
        lease=lease,
        index=unit.index,
        images=[
            worker_pb2.Image(
                label=one.label,
                position=one.position,
                digest=one.digest,
                nbytes=one.nbytes,
                row_json=json.dumps(one.row),
            )
            for one in unit.images
        ],
        arrays=unit.arrays or "",
    )
