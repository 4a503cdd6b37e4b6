"""Files by what is in them: images, checkpoints and arrays, shared by the front and its workers on one disk.

    blobs/
      ab/cdef…    the file whose SHA-256 is abcdef…; whole, never changed
      incoming/   files that are being written
      lock        held for the moment in which a file gets its name or is removed

A file is on the disk, and its name too, before its address is told to anybody. What nothing refers to is removed
by `collect`, when it has been there so long that no worker is still on its way to report it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from filelock import FileLock

from limbeck.durable import disk_errors_explained, sync_folder
from limbeck.errors import ConfigError, DataError

_DIGEST = re.compile(r"[0-9a-f]{64}")
_State = tuple[int, int, int]
_log = logging.getLogger(__name__)


class Blobs:
    """A folder of files, each at the address that its content has; for any number of processes at once."""

    def __init__(self, folder: Path) -> None:
        """Keep where; the folder is made when the first file is put."""
        self.folder = folder
        self._incoming = folder / "incoming"
        self._unwanted: dict[Path, tuple[_State, float]] = {}

    def put(self, content: bytes) -> str:
        """Keep `content`; its address. When this returns, the disk has it. A second time changes nothing.

        Raises:
            OutputError: The disk is full, or refuses.
        """
        return self.put_stream((content,))

    def put_stream(self, chunks: Iterable[bytes]) -> str:
        """Keep what `chunks` are together; its address. As `put`, with one chunk at a time in memory."""
        digest = hashlib.sha256()
        nbytes = 0
        with disk_errors_explained(self.folder, 0):
            self._incoming.mkdir(parents=True, exist_ok=True)
        temporary = self._incoming / uuid.uuid4().hex
        try:
            for chunk in chunks:
                nbytes += len(chunk)
                digest.update(chunk)
                # opened for each: what cannot be written may be refused by `close`, and an error of `chunks` is its own
                with disk_errors_explained(self.folder, nbytes), temporary.open("ab") as stream:
                    stream.write(chunk)
            with disk_errors_explained(self.folder, nbytes):
                self._name(temporary, digest.hexdigest())
        finally:
            temporary.unlink(missing_ok=True)
        return digest.hexdigest()

    def path(self, digest: str) -> Path:
        """Where the file of that address lies, if there is one.

        Raises:
            ConfigError: `digest` is not 64 lowercase hexadecimal digits.
        """
        if not _DIGEST.fullmatch(digest):
            raise ConfigError(f"an address among the blobs is 64 lowercase hexadecimal digits, got {digest[:100]!r}")
        return self.folder / digest[:2] / digest[2:]

    def read(self, digest: str) -> bytes:
        """The content of that address, checked.

        Raises:
            DataError: It is not there, cannot be read, or is not what was put; it stays as it is.
            ConfigError: As `path`.
        """
        path = self.path(digest)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"blob {digest} cannot be read: {error.strerror or error} ({path})") from error
        if (found := hashlib.sha256(content).hexdigest()) != digest:
            raise DataError(
                f"blob {digest} is damaged: its {len(content):,} bytes have the digest {found} ({path}). "
                "Delete the job that made it, and submit it again"
            )
        return content

    def collect(self, keep: Callable[[str], bool] | AbstractSet[str], *, older_than_seconds: float) -> int:
        """Remove what nothing refers to, and what killed processes left half written; how many files there were.

        To be called again and again: a file goes when a call finds it as an earlier one did, long enough ago.

        Args:
            keep: Which addresses something refers to.
            older_than_seconds: How long a file is seen before it goes: longer than a worker takes from writing it to
                reporting it. A monotonic clock counts it, so that a clock that is set loses nothing.
        """
        refers = keep.__contains__ if isinstance(keep, AbstractSet) else keep
        now = time.monotonic()
        files = [*self._incoming.glob("*"), *(path for path in self._files() if not refers(_address(path)))]
        states = {path: state for path in files if (state := _state(path))}
        seen, self._unwanted = self._unwanted, {}
        removed = 0
        for path, state in states.items():
            before, since = seen.get(path, (state, now))
            self._unwanted[path] = (state, since if before == state else now)
            if before == state and since < now - older_than_seconds:
                removed += self._remove(path, state)
        _log.info("blobs_collected folder=%s files=%d", self.folder, removed)
        return removed

    def _name(self, temporary: Path, digest: str) -> None:
        """Give a written file its address, and wait until the disk has both."""
        with temporary.open("ab") as stream:
            os.fsync(stream.fileno())
        path = self.path(digest)
        path.parent.mkdir(exist_ok=True)
        with self._locked():
            temporary.replace(path)
        # another process may have made the folders a moment ago, and not have come to this line
        for folder in (path.parent, self.folder, self.folder.parent):
            sync_folder(folder)

    def _remove(self, path: Path, state: _State) -> bool:
        """Remove a file, unless it was put again since it was looked at."""
        with self._locked():
            unchanged = _state(path) == state
            if unchanged:
                path.unlink(missing_ok=True)
            return unchanged

    def _locked(self) -> FileLock:
        """To be entered. The system frees the lock of a process that dies."""
        return FileLock(self.folder / "lock")

    def _files(self) -> Iterator[Path]:
        return (path for path in self.folder.glob("[0-9a-f][0-9a-f]/*") if _DIGEST.fullmatch(_address(path)))


def _address(path: Path) -> str:
    return path.parent.name + path.name


def _state(path: Path) -> _State | None:
    """What is another when a file was put again or has grown; None if it is not there (any more)."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
