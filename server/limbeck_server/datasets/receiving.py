"""Receiving an upload: chunk by chunk to the disk, and what is safe there to the ledger."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from limbeck_server.datasets import refusals
from limbeck_server.datasets.checking import Checker
from limbeck_server.datasets.folders import DatasetFolders
from limbeck_server.datasets.limits import DatasetLimits
from limbeck_server.datasets.part_file import PartFile
from limbeck_server.store.records import Dataset, DatasetState, Failure
from limbeck_server.store.threaded import ThreadedStore

logger = logging.getLogger(__name__)

T = TypeVar("T")

_WHOLE = (DatasetState.CHECKING, DatasetState.READY)


@dataclass(frozen=True)
class Chunk:
    """A piece of a file, as it came."""

    offset: int
    data: bytes
    crc32: int


class Uploads:
    """Takes uploads in.

    Args:
        store: The ledger.
        folders: Where they lie.
        checker: Looks through those that are whole.
        limits: How much is taken.
    """

    def __init__(self, store: ThreadedStore, folders: DatasetFolders, checker: Checker, limits: DatasetLimits) -> None:
        self._store = store
        self._folders = folders
        self._checker = checker
        self._limits = limits
        self._open: set[str] = set()
        self._endings: dict[str, asyncio.Task[Dataset]] = {}

    async def receive(self, id: str, chunks: AsyncIterator[Chunk]) -> Dataset:
        """Take chunks until they end, and return the dataset as it then is.

        However it ends, what came is on the disk and the ledger knows how much. A file that is whole is compared with
        its digest and handed on to be looked through. Of a dataset that is whole already, no chunk is taken.

        Raises:
            NotFoundError: There is no such dataset.
            RefusedError: Another stream brings it already, a chunk does not fit or is damaged, nothing came for too
                long, or the disk is full.
        """
        if id in self._open or id in self._endings:
            raise refusals.busy(id)
        self._open.add(id)
        try:
            dataset = await self._store.run(lambda store: store.dataset(id))
            if dataset.uploaded and dataset.state in _WHOLE:
                return dataset
            if dataset.state is not DatasetState.UPLOADING:
                raise refusals.not_uploading(dataset)
            return await self._grown(dataset, chunks)
        finally:
            self._open.remove(id)

    async def close(self) -> None:
        """Wait until the ledger knows what came; to be called when no stream is open any more."""
        while self._endings:
            await asyncio.wait(self._endings.values())

    async def _grown(self, dataset: Dataset, chunks: AsyncIterator[Chunk]) -> Dataset:
        part = PartFile(self._folders.part(dataset.id), dataset.received_nbytes)
        thread = _OneThread()
        try:
            await self._take(dataset, part, thread, chunks)
        finally:
            # In a task of its own: a stream that drops cancels this one, more than once.
            ending = asyncio.create_task(self._end(dataset, part, thread))
            self._endings[dataset.id] = ending
            ending.add_done_callback(lambda done: self._ended(dataset.id, done))
            dataset = await asyncio.shield(ending)
        return dataset

    async def _end(self, dataset: Dataset, part: PartFile, thread: _OneThread) -> Dataset:
        try:
            with self._full_disk_told(part):
                dataset = await self._acknowledge(dataset, part, thread)
            return await self._finished(dataset, part, thread)
        finally:
            await thread.run(part.close)
            thread.close()

    def _ended(self, id: str, ending: asyncio.Task[Dataset]) -> None:
        del self._endings[id]
        if not ending.cancelled() and (error := ending.exception()):
            logger.warning("upload_ended_badly dataset=%s reason=%r", id, error)

    async def _take(self, dataset: Dataset, part: PartFile, thread: _OneThread, chunks: AsyncIterator[Chunk]) -> None:
        synced_at = time.monotonic()
        with self._full_disk_told(part):
            await thread.run(part.open)
            while (chunk := await self._next(chunks, part)) is not None:
                _refuse_misfit(chunk, part.nbytes, dataset.nbytes)
                await thread.run(partial(part.write, chunk.data))
                unsynced, now = part.nbytes - part.synced_nbytes, time.monotonic()
                if unsynced >= self._limits.sync_nbytes or now - synced_at >= self._limits.sync_seconds:
                    await self._acknowledge(dataset, part, thread)
                    synced_at = now

    async def _next(self, chunks: AsyncIterator[Chunk], part: PartFile) -> Chunk | None:
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                return await anext(chunks, None)
        except TimeoutError:
            raise refusals.silent(self._limits.idle_seconds, part.nbytes) from None

    async def _acknowledge(self, dataset: Dataset, part: PartFile, thread: _OneThread) -> Dataset:
        safe = await thread.run(part.sync)
        return await self._store.run(lambda store: store.update_dataset(dataset.id, received_nbytes=safe))

    async def _finished(self, dataset: Dataset, part: PartFile, thread: _OneThread) -> Dataset:
        """The dataset, on its way to be looked through if it is whole."""
        if dataset.received_nbytes < dataset.nbytes:
            return dataset
        found = await thread.run(part.sha256)
        if found != dataset.digest:
            refused = refusals.wrong_digest(dataset, found)
            failure = Failure(refused.refusal.reason, refused.refusal.message)
            await self._store.run(
                lambda store: store.update_dataset(dataset.id, state=DatasetState.FAILED, failure=failure)
            )
            await thread.run(lambda: self._folders.remove(dataset.id))
            raise refused
        logger.info("upload_received dataset=%s nbytes=%d", dataset.id, dataset.nbytes)
        whole = await self._store.run(lambda store: store.update_dataset(dataset.id, state=DatasetState.CHECKING))
        self._checker.start(whole)
        return whole

    @contextmanager
    def _full_disk_told(self, part: PartFile) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            logger.warning("upload_disk_full received_nbytes=%d", part.synced_nbytes)
            raise refusals.no_space(f"the server's disk is full ({error.strerror})", part.synced_nbytes) from error


def _refuse_misfit(chunk: Chunk, received_nbytes: int, nbytes: int) -> None:
    if chunk.offset != received_nbytes:
        raise refusals.wrong_offset(chunk.offset, received_nbytes)
    if (end := chunk.offset + len(chunk.data)) > nbytes:
        raise refusals.too_long(end, nbytes, received_nbytes)
    if zlib.crc32(chunk.data) != chunk.crc32:
        raise refusals.wrong_checksum(chunk.offset, received_nbytes)


class _OneThread:
    """A thread for one file. What is asked of it is done in order, even if nobody waits for it any more."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="upload")

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` makes, in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """End the thread when it has done what was asked."""
        self._pool.shutdown(wait=False)
