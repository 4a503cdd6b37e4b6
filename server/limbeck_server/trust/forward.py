"""Files that a hostile archive cannot make a reader take whole into memory.

`tarfile` and `zipfile` read a header of any length that an archive claims in one piece. Here such a read is refused.
"""

from __future__ import annotations

import io
from typing import IO

from limbeck_server.trust.errors import ArchiveError

MAX_READ_NBYTES = 64 * 2**20
_CHUNK_NBYTES = 2**20


class BoundedFile(io.FileIO):
    """A file to be read, of which no single read is large."""

    def read(self, size: int | None = -1, /) -> bytes:
        rest = self._rest() if size is None or size < 0 else size
        return super().read(_checked(rest)) or b""

    def _rest(self) -> int:
        here = self.tell()
        end = self.seek(0, io.SEEK_END)
        self.seek(here)
        return end - here


class Forward(io.RawIOBase):
    """A stream read forwards only, up to a number of bytes.

    Args:
        source: What is read.
        allowed_nbytes: After so many, everything is refused: what is skipped counts too.
    """

    def __init__(self, source: IO[bytes], allowed_nbytes: int) -> None:
        super().__init__()
        self._source = source
        # A tar file has a header of 512 bytes, and as much padding, for every file.
        self._limit = 2 * allowed_nbytes
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        content = self._source.read(_checked(MAX_READ_NBYTES if size < 0 else size))
        self._position += len(content)
        if self._position > self._limit:
            raise ArchiveError(f"the archive holds more than {self._limit:,} bytes, far more than its size allows")
        return content

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or offset < self._position:
            raise io.UnsupportedOperation("this stream goes forwards only")
        while self._position < offset and self.read(min(_CHUNK_NBYTES, offset - self._position)):
            pass
        return self._position


def _checked(size: int) -> int:
    if size > MAX_READ_NBYTES:
        raise ArchiveError(f"the archive has a header of {size:,} bytes; no honest one is over {MAX_READ_NBYTES:,}")
    return size
