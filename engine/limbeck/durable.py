"""Files that are there whole or not at all, and disk errors that say what to do."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from limbeck.errors import OutputError

_BLOCK_NBYTES = 4096


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it is the old one, the new one, or absent; never a part of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    write_synced(temporary, content)
    temporary.replace(path)
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_nbytes(files: Mapping[str, bytes]) -> int:
    """What files take on a disk of 4 KiB blocks, the usual size; small images take twice their length."""
    return sum(-(-len(content) // _BLOCK_NBYTES) * _BLOCK_NBYTES for content in files.values())


@contextmanager
def disk_errors_explained(folder: Path, needed_nbytes: int) -> Iterator[None]:
    """Turn an `OSError` inside into an `OutputError` that names `folder` and the space there is and that was needed."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(folder).free
            raise OutputError(
                f"the disk is full: {folder} has {free:,} bytes free, this step needs {needed_nbytes:,}\n"
                "finished units are kept; make space, and the same command with --resume continues"
            ) from error
        raise OutputError(f"cannot write to {folder}: {error.strerror or error} ({error.filename})") from error
