"""One server a root folder: the lock that the front holds as long as it lives."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from limbeck.durable import disk_errors_explained, write_whole
from limbeck_server.store.errors import RootInUseError


class RootLock:
    """The claim of this process on a root folder, used by `with`. The system frees it when the process dies."""

    def __init__(self, root: Path) -> None:
        """Keep where; nothing is locked yet."""
        self._root = root
        self._folder = root / "run"
        # who asks for a lock truncates its file, so that the holder's pid lies in another
        self._holder = self._folder / "front.pid"
        self._lock = FileLock(self._folder / "lock", timeout=0)

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            RootInUseError: Another process has it.
            OutputError: The folder cannot be written.
        """
        with disk_errors_explained(self._root, 0):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except Timeout as error:
                raise RootInUseError(
                    f"another server works on {self._root}: process {self._held_by()}; "
                    "stop that one first, or give this one another --root"
                ) from error
            write_whole(self._holder, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._holder.unlink()
        self._lock.release()

    def _held_by(self) -> str:
        try:
            return self._holder.read_text().strip()
        except OSError:
            return "unknown"
