"""Files of a distilled set as bytes from any offset: one of them, or all as a tar archive that is always the same.

Nothing is written: where each byte of the archive comes from follows from the names and sizes alone.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from limbeck_server.store.records import SetRecord
from limbeck_server.wire.refusal import Refusal, RefusedError

CHUNK_NBYTES = 256 * 2**10
"""The most bytes that are read at a time."""


@dataclass(frozen=True)
class FilePart:
    """A file that was put in its place whole, and is not changed after."""

    path: Path
    nbytes: int

    def read(self, offset: int, nbytes: int) -> bytes:
        """At most `nbytes` from `offset` on.

        Raises:
            RefusedError: The file is not there any more, or shorter than it was.
        """
        try:
            with self.path.open("rb") as stream:
                stream.seek(offset)
                found = stream.read(min(nbytes, self.nbytes - offset))
        except OSError as error:
            raise _lost(self.path, error.strerror or str(error)) from error
        if not found:
            raise _lost(self.path, "it is shorter than it was")
        return found


@dataclass(frozen=True)
class BytesPart:
    """Bytes between files."""

    content: bytes

    @property
    def nbytes(self) -> int:
        """How many there are."""
        return len(self.content)

    def read(self, offset: int, nbytes: int) -> bytes:
        """At most `nbytes` from `offset` on."""
        return self.content[offset : offset + nbytes]


Part = FilePart | BytesPart


def file_parts(record: SetRecord, path: str) -> list[Part]:
    """One file of a set; `path` is one of the record's."""
    return [FilePart(Path(record.path, path), record.files[path][1])]


def archive_parts(record: SetRecord) -> list[Part]:
    """All files of a set as a tar archive, by path, without times and owners."""
    parts: list[Part] = []
    for path, (_, nbytes) in sorted(record.files.items()):
        header = tarfile.TarInfo(path)
        header.size = nbytes
        parts.append(BytesPart(header.tobuf(tarfile.PAX_FORMAT)))
        parts.append(FilePart(Path(record.path, path), nbytes))
        parts.append(BytesPart(bytes(-nbytes % tarfile.BLOCKSIZE)))
    return [*parts, BytesPart(bytes(2 * tarfile.BLOCKSIZE))]


def size_of(parts: Sequence[Part]) -> int:
    """The bytes of all parts."""
    return sum(part.nbytes for part in parts)


def chunks(parts: Sequence[Part], offset: int = 0) -> Iterator[bytes]:
    """The bytes from `offset` on, in pieces of `CHUNK_NBYTES`; the last may be shorter."""
    waiting = bytearray()
    for piece in _pieces(parts, offset):
        waiting += piece
        while len(waiting) >= CHUNK_NBYTES:
            yield bytes(waiting[:CHUNK_NBYTES])
            del waiting[:CHUNK_NBYTES]
    if waiting:
        yield bytes(waiting)


def sha256_of(parts: Sequence[Part]) -> str:
    """SHA-256 of all bytes, in hexadecimal digits; reads them."""
    digest = hashlib.sha256()
    for piece in chunks(parts):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(parts: Sequence[Part], offset: int) -> Iterator[bytes]:
    for part in parts:
        while offset < part.nbytes:
            piece = part.read(offset, CHUNK_NBYTES)
            yield piece
            offset += len(piece)
        offset -= part.nbytes


def _lost(path: Path, why: str) -> RefusedError:
    return RefusedError(
        Refusal(
            grpc.StatusCode.DATA_LOSS,
            "FILE_LOST",
            f"{path.name} of the distilled set cannot be read: {why}; if the set was not deleted, its disk is damaged",
        )
    )
