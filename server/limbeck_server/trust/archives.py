"""Unpacking what a stranger packed.

A name that leads out, a link, a device, or more than the limits ends it before the byte that would do harm is written.
What was written until then is the caller's to remove: it is all below the folder. It takes time that an archive
decides, so it belongs in a process of its own.
"""

from __future__ import annotations

import bz2
import gzip
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from limbeck_server.trust.errors import ArchiveError
from limbeck_server.trust.forward import BoundedFile, Forward

_CHUNK_NBYTES = 2**20
_MAX_NAME_NBYTES = 1024
_MAX_PART_NBYTES = 255
# RecursionError: tarfile calls itself for each header that comments on the next.
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, RecursionError)
# Not LZMA, in zip or tar: an archive could ask for 4 GiB of dictionary.
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_OPENERS: Mapping[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """How much may come out of an archive.

    Args:
        max_entries: Files and folders.
        max_nbytes: Of all files.
        max_ratio: Of what comes out to what the archive's file has. Images hardly shrink when they are packed; a bomb
            has a thousand and more.
        max_depth: Folders in folders.
    """

    max_entries: int = 2_000_000
    max_nbytes: int = 500 * 2**30
    max_ratio: float = 100.0
    max_depth: int = 16

    def allowed_nbytes(self, archive_nbytes: int) -> int:
        """What may come out of an archive of that size. The first MiB is free: small archives are mostly headers."""
        return min(self.max_nbytes, _CHUNK_NBYTES + int(self.max_ratio * archive_nbytes))


@dataclass(frozen=True)
class Unpacked:
    """What came out of an archive."""

    num_files: int
    nbytes: int


def unpack(archive: Path, folder: Path, limits: ArchiveLimits | None = None) -> Unpacked:
    """Unpack a zip or tar file (plain, or packed with gzip or bzip2) into a folder that is there.

    What the archive says of owners, times and permissions is not taken over.

    Raises:
        ArchiveError: It is no such archive, it is damaged, or it has what it must not; the message names the entry.
    """
    limits = limits or ArchiveLimits()
    target = _Target(folder, limits, limits.allowed_nbytes(archive.stat().st_size))
    try:
        with BoundedFile(archive) as file:
            magic = file.read(4)
            file.seek(0)
            if magic.startswith(b"PK"):
                _unpack_zip(file, target)
            else:
                _unpack_tar(file, magic, target)
    except _DAMAGED as error:
        raise _damaged(error) from error
    except OSError as error:
        if error.errno is not None:  # the disk's; gzip and bz2 give none
            raise
        raise _damaged(error) from error
    return Unpacked(target.num_files, target.nbytes)


class _Target:
    """The folder, and what is still allowed to come into it."""

    def __init__(self, folder: Path, limits: ArchiveLimits, allowed_nbytes: int) -> None:
        self.folder = folder
        self.allowed_nbytes = allowed_nbytes
        self.num_files = 0
        self.nbytes = 0
        self._limits = limits
        self._num_entries = 0

    def enter(self, name: str) -> Path:
        """Where an entry of that name goes."""
        self._num_entries += 1
        if self._num_entries > self._limits.max_entries:
            raise ArchiveError(f"the archive has more than {self._limits.max_entries:,} entries")
        return self.folder.joinpath(*_parts(name, self._limits.max_depth))

    def make_folder(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._clash(path) from error

    def write(self, path: Path, source: IO[bytes]) -> None:
        """Write one file, and nothing that is there already."""
        self.make_folder(path.parent)
        try:
            file = path.open("xb")
        except (FileExistsError, IsADirectoryError) as error:
            raise self._clash(path) from error
        with file:
            while chunk := source.read(_CHUNK_NBYTES):
                self.nbytes += len(chunk)
                if self.nbytes > self.allowed_nbytes:
                    raise ArchiveError(
                        f"more than {self.allowed_nbytes:,} bytes come out of the archive: that is over "
                        f"{self._limits.max_ratio:g} times its size, or over {self._limits.max_nbytes:,}"
                    )
                file.write(chunk)
        self.num_files += 1

    def _clash(self, path: Path) -> ArchiveError:
        return ArchiveError(f"the archive has {str(path.relative_to(self.folder))!r} twice, or as a folder and a file")


def _unpack_zip(file: IO[bytes], target: _Target) -> None:
    with zipfile.ZipFile(file) as packed:
        for entry in packed.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unwanted(entry.filename)
            if entry.flag_bits & 1:
                raise ArchiveError(f"{entry.filename!r} is encrypted; pack it without a password")
            if entry.compress_type not in _ZIP_METHODS:
                raise ArchiveError(f"{entry.filename!r} is packed in an unusual way; use deflate, or no compression")
            path = target.enter(entry.orig_filename)
            if entry.is_dir():
                target.make_folder(path)
            else:
                with packed.open(entry) as source:
                    target.write(path, source)


def _unpack_tar(file: IO[bytes], magic: bytes, target: _Target) -> None:
    with (
        _decompressed(file, magic) as stream,
        tarfile.open(fileobj=Forward(stream, target.allowed_nbytes), mode="r:") as packed,
    ):
        for entry in packed:
            if not (entry.isreg() or entry.isdir()) or entry.issparse():
                raise _unwanted(entry.name)
            path = target.enter(entry.name)
            try:
                # The interpreter's own opinion, so that a trick that becomes known is refused here too.
                tarfile.data_filter(entry, str(target.folder))
            except tarfile.FilterError as error:
                raise ArchiveError(f"{entry.name!r} is refused: {error}") from error
            source = packed.extractfile(entry)
            if source is None:
                target.make_folder(path)
            else:
                target.write(path, source)
            packed.members.clear()  # type: ignore[attr-defined]  # or a million entries stay in memory


@contextmanager
def _decompressed(file: IO[bytes], magic: bytes) -> Iterator[IO[bytes]]:
    for start, opener in _OPENERS.items():
        if magic.startswith(start):
            with opener(file) as stream:
                yield stream
            return
    yield file


def _parts(name: str, max_depth: int) -> list[str]:
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise ArchiveError(f"the name {name!r} is not UTF-8") from error
    if "\0" in name or "\\" in name or length > _MAX_NAME_NBYTES:
        raise ArchiveError(f"the name {name[:80]!r} has a NUL or a backslash, or is too long")
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        raise ArchiveError(f"{name!r} is an absolute path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ArchiveError(f"{name!r} leads out of the folder")
    if len(parts) > max_depth or any(len(os.fsencode(part)) > _MAX_PART_NBYTES for part in parts):
        raise ArchiveError(f"{name[:80]!r} is nested in more than {max_depth} folders, or a part of it is too long")
    return parts


def _damaged(error: Exception) -> ArchiveError:
    return ArchiveError(f"the archive is damaged, or neither zip nor tar: {error}")


def _unwanted(name: str) -> ArchiveError:
    return ArchiveError(f"{name!r} is a link, a device or a sparse file; pack folders and whole files only")
