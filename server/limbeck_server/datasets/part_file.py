"""The file of an upload: only what the ledger has acknowledged counts, whatever else a dead server left in it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from limbeck.durable import sync_folder


class PartFile:
    """A file that grows.

    Args:
        path: Where it is; made when it is opened, if it is not there.
        acknowledged_nbytes: What the ledger has of it. A torn tail behind that is cut off.
    """

    def __init__(self, path: Path, acknowledged_nbytes: int) -> None:
        self._path = path
        self._file: int | None = None
        self.nbytes = acknowledged_nbytes
        self.synced_nbytes = acknowledged_nbytes

    def open(self) -> None:
        """Open the file, and cut it to what was acknowledged."""
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        sync_folder(self._path.parent)
        # Less than was acknowledged is there only if somebody else changed the file; then it begins where it ends.
        self.nbytes = self.synced_nbytes = min(self.nbytes, os.fstat(self._file).st_size)
        os.ftruncate(self._file, self.nbytes)

    def write(self, data: bytes) -> None:
        """Append all of it, or nothing that counts."""
        assert self._file is not None
        rest, end = memoryview(data), self.nbytes
        while rest:
            written = os.pwrite(self._file, rest, end)
            rest, end = rest[written:], end + written
        self.nbytes = end

    def sync(self) -> int:
        """Wait until the disk has everything; how much that is."""
        if self._file is not None and self.synced_nbytes != self.nbytes:
            os.fdatasync(self._file)
            self.synced_nbytes = self.nbytes
        return self.synced_nbytes

    def sha256(self) -> str:
        """Of the whole file, in hexadecimal digits."""
        with self._path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def close(self) -> None:
        """Let the file go. What was not synced may be lost."""
        if self._file is not None:
            os.close(self._file)
