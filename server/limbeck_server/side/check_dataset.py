"""The side task that looks through a dataset: is it what it says it is, and which of its images can be read?

    {"path": …, "roots": […]}                            a file or folder of the operator's, that must lie below a root
    {"upload": …, "file_name": …, "folder": …}           an upload, that is put into a new folder: unpacked, or as it is

Both with "max_pixels", the limit on an image's width times height, and an upload with "max_entries", "max_nbytes"
and "max_ratio" of what comes out of it. The answer has "path" (of an upload, within its folder), "nbytes",
"num_images", "num_classes", "num_unreadable", and "unreadable": of the first of those, pairs of an image's name and
the reason.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.decode import MAX_PIXELS
from limbeck.data.normalization import NORMALIZATIONS
from limbeck.data.source import check, open_source
from limbeck.data.stored import StoredSource
from limbeck.errors import DataError, OutputError, SplitsError
from limbeck_server.side.failures import plain
from limbeck_server.side.file_names import FileName
from limbeck_server.side.tasks import Json, Report
from limbeck_server.trust.archives import ArchiveLimits, unpack
from limbeck_server.trust.paths import AllowedRoots

_TOLD_UNREADABLE = 2000


def check_dataset(payload: Json, report: Report) -> dict[str, Any]:
    """Look through a dataset, see the module.

    Raises:
        DataError: It cannot be used at all: of no kind that can be read, outside the roots, a harmful archive, a class
            without a single readable image.
        OutputError: There is no space to unpack it.
    """
    if "upload" in payload:
        return _check_upload(payload, report)
    roots = AllowedRoots([Path(root) for root in payload["roots"]])
    place = roots.resolve(payload["path"])
    if place.is_dir():
        roots.check_tree(place)
    return {"path": str(place), **_looked_through(place, payload, report)}


def _check_upload(payload: Json, report: Report) -> dict[str, Any]:
    folder = Path(payload["folder"])
    name = FileName.parse(payload["file_name"])
    try:
        with _full_disk_told(folder):
            place = _laid_out(Path(payload["upload"]), name, folder, payload)
            os.sync()  # one wait for all of its files, before the ledger says that they are there
        found = _looked_through(place, payload, report)
    except DataError as error:
        # Where the server keeps it is nobody's business.
        raise DataError(str(error).replace(f"{folder}{os.sep}", "")) from error
    return {**found, "path": str(place.relative_to(folder)), "nbytes": _nbytes(folder)}


def _laid_out(upload: Path, name: FileName, folder: Path, payload: Json) -> Path:
    """The uploaded file below `folder` as `open_source` wants it, and where."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if name.is_archive:
        place = folder / name.stem
        place.mkdir()
        limits = {limit: payload[limit] for limit in ("max_entries", "max_nbytes", "max_ratio")}
        unpack(upload, place, ArchiveLimits(**limits))
        return _inner(place)
    place = folder / name.text
    try:
        os.link(upload, place)
    except OSError:  # a file system without hard links
        shutil.copyfile(upload, place)
    return place


def _inner(folder: Path) -> Path:
    """The folder that has the classes: packing a folder, people often pack the folder around it too."""
    shutil.rmtree(folder / "__MACOSX", ignore_errors=True)  # which macOS adds to a zip, and which is no class
    while True:
        entries = _visible(folder)
        if len(entries) != 1:
            return folder
        if entries[0].is_file():
            return entries[0] if FileName.fits(entries[0].name) else folder
        if not any(entry.is_dir() or FileName.fits(entry.name) for entry in _visible(entries[0])):
            return folder
        folder = entries[0]


def _visible(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


def _looked_through(place: Path, payload: Json, report: Report) -> dict[str, Any]:
    """What is found in all splits together; a job says which of them it reads."""
    max_pixels = payload.get("max_pixels", MAX_PIXELS)
    try:
        sources = [_opened(str(place), max_pixels)]
    except SplitsError as several:
        sources = [_opened(f"{place}:{split}", max_pixels) for split in several.splits]
    checked = [
        check(one, skip_unreadable=True, on_progress=lambda done, total: report("checking", done, total))
        for one in sources
    ]
    skipped = [one for source in checked for one in source.skipped]
    return {
        "nbytes": _nbytes(place),
        "num_images": sum(len(one.names(class_id)) for one in checked for class_id in range(len(one.class_names))),
        "num_classes": len({name for one in checked for name in one.class_names}),
        "num_unreadable": len(skipped),
        "unreadable": [[plain(name), plain(reason)] for name, reason in skipped[:_TOLD_UNREADABLE]],
    }


def _opened(place: str, max_pixels: int) -> StoredSource:
    """The source. Arrays whose pixels are normalized are opened as such: in which way only a job says."""
    source = open_source(place, max_pixels=max_pixels)
    _, first = next(source.pictures(0))
    if isinstance(first, np.ndarray) and first.dtype.kind == "f" and not (first.min() >= 0 and first.max() <= 1):
        return open_source(place, max_pixels=max_pixels, normalization=NORMALIZATIONS["raw"])
    return source


def _nbytes(place: Path) -> int:
    if place.is_file():
        return place.stat().st_size
    return sum(os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(place) for name in names)


@contextmanager
def _full_disk_told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(folder.parent).free
            raise OutputError(f"no space to unpack the dataset: the server's disk has {free:,} bytes free") from error
        raise
