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
from typing import TypeVar

from limbeck_server.datasets import refusals
from limbeck_server.datasets.checking import Checker
from limbeck_server.datasets.folders import DatasetFolders
from limbeck_server.datasets.limits import DatasetLimits
from limbeck_server.datasets.part_file import PartFile
from limbeck_server.store.base import Dataset, DatasetState, Failure
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

    async def receive(self, dataset: Dataset, chunks: AsyncIterator[Chunk]) -> Dataset:
        """Take chunks until they end or the file is whole, and return the dataset as it then is.

        However it ends, what came is on the disk and the ledger knows how much. A file that is whole is compared with
        its digest and handed on to be looked through. Of a dataset that is whole already, no chunk is taken.

        Raises:
            RefusedError: Another stream brings it already, a chunk does not fit or is damaged, nothing came for too
                long, or the disk is full.
        """
        with self._alone(dataset):
            if dataset.uploaded and dataset.state in _WHOLE:
                return dataset
            if dataset.state is not DatasetState.UPLOADING:
                raise refusals.not_uploading(dataset)
            with _OneThread() as thread:
                with self._full_disk_told(lambda: dataset.received_nbytes):
                    part = await thread.run(lambda: PartFile(self._folders.part(dataset.id), dataset.received_nbytes))
                try:
                    with self._full_disk_told(lambda: part.synced_nbytes):
                        return await self._grown(dataset, part, thread, chunks)
                finally:
                    await thread.run(part.close)

    @contextmanager
    def _alone(self, dataset: Dataset) -> Iterator[None]:
        if dataset.id in self._open:
            raise refusals.busy(dataset)
        self._open.add(dataset.id)
        try:
            yield
        finally:
            self._open.remove(dataset.id)

    async def _grown(
        self, dataset: Dataset, part: PartFile, thread: _OneThread, chunks: AsyncIterator[Chunk]
    ) -> Dataset:
        try:
            await self._take(dataset, part, thread, chunks)
        finally:
            dataset = await self._acknowledge(dataset, part, thread)
        return await self._finished(dataset, part, thread)

    async def _take(self, dataset: Dataset, part: PartFile, thread: _OneThread, chunks: AsyncIterator[Chunk]) -> None:
        synced_at = time.monotonic()
        while (chunk := await self._next(chunks, part)) is not None:
            _refuse_misfit(chunk, part.nbytes, dataset.nbytes)
            await thread.run(lambda data=chunk.data: part.write(data))  # type: ignore[misc]
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
    def _full_disk_told(self, received: Callable[[], int]) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            logger.warning("upload_disk_full received_nbytes=%d", received())
            raise refusals.no_space(f"the server's disk is full ({error.strerror})", received()) from error


def _refuse_misfit(chunk: Chunk, received_nbytes: int, nbytes: int) -> None:
    if chunk.offset != received_nbytes:
        raise refusals.wrong_offset(chunk.offset, received_nbytes)
    if (end := chunk.offset + len(chunk.data)) > nbytes:
        raise refusals.too_long(end, nbytes, received_nbytes)
    if zlib.crc32(chunk.data) != chunk.crc32:
        raise refusals.wrong_checksum(chunk.offset, received_nbytes)


class _OneThread:
    """A thread for one file. What is asked of it is done in order, even if nobody waits for it any more."""

    def __enter__(self) -> _OneThread:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="upload")
        return self

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` makes, in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def __exit__(self, *raised: object) -> None:
        self._pool.shutdown(wait=False)
