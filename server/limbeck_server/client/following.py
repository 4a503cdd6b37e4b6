"""Reading an image cache while it is filled.

Every reader is ready to have it filled; the first that finds nobody at it starts a process that does (`fill`). If that
ends, another reader's takes over where it was. So one machine fetches every image once, however many processes read.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Self

from filelock import FileLock, Timeout

from limbeck_server.client.connection import Connection
from limbeck_server.client.errors import JobError, ServerError
from limbeck_server.client.image_cache import CachedImage, End, ImageCache
from limbeck_server.wire.refusal import Code, Refusal

_LOOK_SECONDS = 0.05
_MAX_BROKEN = 3


class Following:
    """A cache that grows while the block lasts.

    Args:
        connection: To the server.
        job: Its name.
        cache: Of its images.
    """

    def __init__(self, connection: Connection, job: str, cache: ImageCache) -> None:
        self._order = (connection, job, cache.folder)
        self._job = job
        self._cache = cache
        self._filler: subprocess.Popen[bytes] | None = None
        self._broken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._filler is not None:
            self._filler.kill()
            self._filler.communicate()

    def num_images(self) -> int:
        """How many images the job makes; waits until that is known.

        Raises:
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
        """Wait a moment, and see to it that somebody fills the cache."""
        if self._filler is not None and self._filler.poll() is not None:
            filler, self._filler = self._filler, None
            self._take_end(filler)
        if self._filler is None and self._cache.end() is None and _is_free(self._cache):
            self._filler = _start(self._order)
        time.sleep(_LOOK_SECONDS)

    def _take_end(self, filler: subprocess.Popen[bytes]) -> None:
        """Raise what a process that has ended says; one that was killed is replaced, a few times."""
        told, _ = filler.communicate()
        if told:
            if (error := pickle.loads(told)) is not None:
                raise error
            return
        self._broken += 1
        if self._broken > _MAX_BROKEN:
            message = f"the process that fetches images ended with code {filler.returncode}; standard error says more"
            raise ServerError(Refusal(Code.UNKNOWN, "FETCH_ENDED", message))


def refuse_failed(job: str, end: End) -> None:
    """Raise JobError if a job did not succeed."""
    if end.message:
        raise JobError(Refusal(Code.FAILED_PRECONDITION, "JOB_ENDED", f"{job} gave no whole set: {end.message}"))


def _is_free(cache: ImageCache) -> bool:
    try:
        FileLock(cache.lock).acquire(timeout=0).lock.release()
    except Timeout:
        return False
    return True


def _start(order: tuple[object, ...]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "limbeck_server.client.fill"]
    filler = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert filler.stdin is not None
    filler.stdin.write(pickle.dumps(order))
    filler.stdin.flush()
    return filler
