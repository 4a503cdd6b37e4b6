"""Filling an image cache while its job runs, and reading along.

Every reader of a cache is ready to fill it; the one that gets the lock does, over its own connection. If its process
ends, another takes over where it was. So one machine fetches every image once, however many processes read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Self

from filelock import FileLock, Timeout

from limbeck_server.client.aio import AsyncClient
from limbeck_server.client.connection import Connection
from limbeck_server.client.errors import JobError, StateError
from limbeck_server.client.image_cache import CachedImage, End, ImageCache
from limbeck_server.client.loop import LoopThread
from limbeck_server.wire.refusal import Code, Refusal

_LOOK_SECONDS = 0.05
_LOCK_SECONDS = 0.2
_PREPARED_SECONDS = 0.5

_log = logging.getLogger(__name__)


class Following:
    """A cache that grows while the block lasts, filled by this process or another.

    Args:
        connection: To the server.
        job: Its name.
        cache: Of its images.
    """

    def __init__(self, connection: Connection, job: str, cache: ImageCache) -> None:
        self._connection = connection
        self._job = job
        self._cache = cache
        self._filling: tuple[LoopThread, Future[None]] | None = None

    def __enter__(self) -> Self:
        if self._cache.end() is None:
            loop = LoopThread()
            self._filling = (loop, loop.start(fill(self._connection, self._job, self._cache)))
        return self

    def __exit__(self, *_: object) -> None:
        if self._filling is not None:
            loop, _future = self._filling
            loop.close()

    def num_images(self) -> int:
        """How many images the job makes; waits until that is known.

        Raises:
            JobError: The job ended before.
            ServerError: The server refused, or was away for too long.
        """
        while (found := self._cache.num_images()) is None:
            self._wait()
        return found

    def images(self) -> Iterator[CachedImage]:
        """Every image once, in the order in which they are finished; ends after the last.

        Raises:
            JobError: After the last, if the job did not succeed.
            ServerError: As `num_images`.
        """
        offset = 0
        while True:
            end = self._cache.end()
            images, offset = self._cache.listed(offset)
            yield from images
            if end is not None:
                refuse_failed(self._job, end)
                return
            if not images:
                self._wait()

    def until_end(self) -> None:
        """Wait until there are no more; raises as `images`."""
        while (end := self._cache.end()) is None:
            self._wait()
        refuse_failed(self._job, end)

    def _wait(self) -> None:
        if self._filling is not None and self._filling[1].done():
            self._filling[1].result()
        time.sleep(_LOOK_SECONDS)


def refuse_failed(job: str, end: End) -> None:
    """Raise JobError if a job did not succeed."""
    if end.message:
        raise JobError(Refusal(Code.FAILED_PRECONDITION, "JOB_ENDED", f"{job} gave no whole set: {end.message}"))


async def fill(connection: Connection, job: str, cache: ImageCache) -> None:
    """Fill a cache to its end, or wait until another process has.

    Raises:
        ServerError: The server refused, or was away for too long.
        OutputError: The disk is full or refuses.
    """
    async with _locked(cache) as mine, AsyncClient(connection) as client:
        if not mine:
            return
        last = cache.repair()
        _log.info("cache_filling job=%s folder=%s after=%d", job, cache.folder, last)
        found = await client.job(job)
        while not found.num_images and not found.is_final:
            await asyncio.sleep(_PREPARED_SECONDS)
            found = await client.job(job)
        cache.begin(found.num_images)
        try:
            async for image in client.images(job, after=last):
                cache.add(image)
        except StateError as error:
            cache.finish(str(error))
        else:
            cache.finish()


@asynccontextmanager
async def _locked(cache: ImageCache) -> AsyncIterator[bool]:
    """Hold the cache's lock; False once there is nothing left to do."""
    # Polled, as the holder may end at any time; a lock that waits could not be cancelled.
    lock = FileLock(cache.lock)
    while cache.end() is None:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            await asyncio.sleep(_LOCK_SECONDS)
            continue
        try:
            yield cache.end() is None
        finally:
            lock.release()
        return
    yield False
