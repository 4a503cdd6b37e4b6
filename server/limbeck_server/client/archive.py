"""A folder as one file that can be uploaded: a zip whose bytes depend on names and contents alone."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from limbeck.errors import DataError

# The earliest time that a zip can say.
_TIME = (1980, 1, 1, 0, 0, 0)


def write_zip(folder: Path, out: Path) -> None:
    """Pack every visible file of a folder, and what folders have none: the server says which class has no image.

    Images hardly get smaller, so nothing is compressed.

    Raises:
        DataError: A file cannot be read, there is none, or a folder is a link.
    """
    visible = [path for path in folder.rglob("*") if not _hidden(path.relative_to(folder))]
    if links := [path for path in visible if path.is_symlink() and path.is_dir()]:
        raise DataError(f"{links[0]} links to a folder, which is not followed; put the images themselves in its place")
    files = sorted(path for path in visible if path.is_file())
    full = {parent for path in files for parent in path.parents}
    empty = sorted(path for path in visible if path.is_dir() and path not in full)
    if not files:
        raise DataError(f"{folder} has no files; give a folder with a folder for each class")
    try:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for path in files:
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _TIME)
                entry.external_attr = 0o644 << 16
                with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, 2**20)
            for path in empty:
                archive.writestr(zipfile.ZipInfo(f"{path.relative_to(folder).as_posix()}/", _TIME), b"")
    except OSError as error:
        raise DataError(f"{folder} cannot be packed: {error}") from error


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
