"""Looking through datasets, beside everything else, until each is ready or has failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from limbeck_server.datasets.folders import DatasetFolders
from limbeck_server.datasets.limits import DatasetLimits
from limbeck_server.datasets.listing import every_dataset
from limbeck_server.side.runner import SideProcesses
from limbeck_server.store.base import Store
from limbeck_server.store.errors import NotFoundError, StoreError
from limbeck_server.store.records import Dataset, DatasetState, Failure
from limbeck_server.store.threaded import ThreadedStore
from limbeck_server.wire.refusal import Refusal
from limbeck_server.wire.status import refusal_of

logger = logging.getLogger(__name__)

_MAX_ATTEMPTS = 3
"""At a dataset at which the process dies: the machine may be out of memory, or an image be a decoder's poison."""
_MESSAGE_LENGTH = 60_000
"""Of a failure, which is read whole with its dataset."""


class Checker:
    """Looks through datasets in side processes.

    Args:
        store: The ledger.
        folders: Where uploads lie.
        side: Runs the processes.
        roots: The folders below which registered datasets must lie, still.
        limits: Of what is taken.
    """

    def __init__(
        self,
        store: ThreadedStore,
        folders: DatasetFolders,
        side: SideProcesses,
        roots: Sequence[Path],
        limits: DatasetLimits,
    ) -> None:
        self._store = store
        self._folders = folders
        self._side = side
        self._roots = [str(root) for root in roots]
        self._limits = limits
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, dataset: Dataset) -> None:
        """Begin to look through a dataset whose state is CHECKING; nothing is waited for."""
        task = asyncio.create_task(self._until_settled(dataset), name=f"check {dataset.id}")
        self._tasks[dataset.id] = task
        task.add_done_callback(lambda done: self._ended(dataset.id, done))

    async def resume(self) -> None:
        """Begin again with what an earlier server left."""
        left = await self._store.run(
            lambda store: [one for one in every_dataset(store) if one.state is DatasetState.CHECKING]
        )
        for dataset in left:
            self.start(dataset)

    async def cancel(self, dataset: str) -> None:
        """Stop looking through a dataset, and wait until its process is gone."""
        if task := self._tasks.get(dataset):
            task.cancel()
            await asyncio.wait([task])

    async def close(self) -> None:
        """Stop everything. What was not finished begins again when the server does."""
        for dataset in list(self._tasks):
            await self.cancel(dataset)

    def _ended(self, dataset: str, task: asyncio.Task[None]) -> None:
        del self._tasks[dataset]
        if not task.cancelled() and (error := task.exception()):
            logger.error("dataset_check_broke dataset=%s", dataset, exc_info=error)

    async def _until_settled(self, dataset: Dataset) -> None:
        attempt = 1
        while not await self._settled(dataset, last=attempt >= _MAX_ATTEMPTS):
            attempt += 1
            await asyncio.sleep(self._limits.retry_seconds)

    async def _settled(self, dataset: Dataset, *, last: bool) -> bool:
        """Whether that was the end: not if the disk was full, nor, but for the last attempt, if a process died."""
        try:
            found = await self._look_through(dataset)
            await self._store.run(lambda store: self._accept(store, dataset, found))
            logger.info("dataset_ready dataset=%s images=%d", dataset.id, found["num_images"])
        except NotFoundError:
            return True  # deleted meanwhile
        except Exception as error:
            refusal = refusal_of(error)
            died = refusal.code is grpc.StatusCode.INTERNAL
            return await self._failed(dataset, refusal, again=refusal.retry_seconds is not None or (died and not last))
        return True

    async def _look_through(self, dataset: Dataset) -> Mapping[str, Any]:
        where: dict[str, Any] = {"path": dataset.path, "roots": self._roots}
        if dataset.uploaded:
            where = {
                "upload": str(self._folders.part(dataset.id)),
                "file_name": Path(dataset.path).name,
                "folder": str(self._folders.unpacked(dataset.id)),
                "max_entries": self._limits.num_entries,
                "max_nbytes": self._limits.unpacked_nbytes,
                "max_ratio": self._limits.max_ratio,
            }
        payload = {**where, "max_pixels": self._limits.max_pixels}
        return await self._side.run("check_dataset", payload, silence_seconds=self._limits.check_seconds)

    def _accept(self, store: Store, dataset: Dataset, found: Mapping[str, Any]) -> None:
        """Put an upload in its place and say that the dataset is ready. On the ledger's thread: deletions wait."""
        store.dataset(dataset.id)
        path = dataset.path
        if dataset.uploaded:
            self._folders.move_home(dataset.id)
            path = str(self._folders.home(dataset.id) / found["path"])
        store.update_dataset(
            dataset.id,
            state=DatasetState.READY,
            num_images=found["num_images"],
            num_classes=found["num_classes"],
            path=path,
            nbytes=found["nbytes"],
            failure=_left_out(found["unreadable"], found["num_unreadable"]),
        )
        if dataset.uploaded:
            self._folders.remove_work(dataset.id)

    async def _failed(self, dataset: Dataset, refusal: Refusal, *, again: bool) -> bool:
        logger.warning("dataset_check_failed dataset=%s reason=%s again=%s", dataset.id, refusal.reason, again)
        state = DatasetState.CHECKING if again else DatasetState.FAILED
        failure = Failure(refusal.reason, refusal.message[:_MESSAGE_LENGTH])
        if dataset.uploaded:
            # First: half an archive must not be what fills the disk that the ledger needs.
            await asyncio.to_thread(self._folders.remove_unpacked, dataset.id)
        try:
            await self._store.run(lambda store: store.update_dataset(dataset.id, state=state, failure=failure))
        except NotFoundError:
            return True
        except StoreError:
            return False
        if not again and dataset.uploaded:
            await asyncio.to_thread(self._folders.remove, dataset.id)
        return not again


def _left_out(unreadable: Sequence[tuple[str, str]], count: int) -> Failure | None:
    """What is said of a dataset that is ready but for `count` images, the first of which are `unreadable`."""
    if not count:
        return None
    lines = [f"{count} image(s) cannot be read, and only a job with skip_unreadable leaves them out:"]
    length = 0
    for name, reason in unreadable:
        line = f"  {name}: {reason}"
        length += len(line)
        if length > _MESSAGE_LENGTH:
            break
        lines.append(line)
    if left := count + 1 - len(lines):
        lines.append(f"  … and {left} more")
    return Failure("UNREADABLE_IMAGES", "\n".join(lines))
