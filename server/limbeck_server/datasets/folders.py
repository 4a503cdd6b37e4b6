"""Where the server keeps what is uploaded.

ROOT/uploads/<id>.part          what has come so far
ROOT/uploads/<id>.unpacked/     being unpacked and looked through
ROOT/datasets/<id>/             ready: moved here in one step
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from limbeck.durable import sync_folder

_OURS = re.compile(r"([0-9a-f]{32})(\.part|\.unpacked)?")


class DatasetFolders:
    """The folders of one server, made if they are not there.

    Args:
        root: The server's folder.
    """

    def __init__(self, root: Path) -> None:
        self.uploads = root / "uploads"
        self.datasets = root / "datasets"
        for folder in (self.uploads, self.datasets):
            folder.mkdir(parents=True, exist_ok=True)

    def part(self, dataset: str) -> Path:
        """The file of an upload."""
        return self.uploads / f"{dataset}.part"

    def unpacked(self, dataset: str) -> Path:
        """The folder that an upload is unpacked in."""
        return self.uploads / f"{dataset}.unpacked"

    def home(self, dataset: str) -> Path:
        """The folder of a dataset that is ready."""
        return self.datasets / dataset

    def move_home(self, dataset: str) -> None:
        """Make what was unpacked the dataset's folder, durably."""
        _remove(self.home(dataset))
        self.unpacked(dataset).rename(self.home(dataset))
        sync_folder(self.datasets)

    def remove_work(self, dataset: str) -> None:
        """Remove the upload and what it was unpacked to, but not the dataset."""
        _remove(self.part(dataset))
        _remove(self.unpacked(dataset))

    def remove_unpacked(self, dataset: str) -> None:
        """Remove everything that was made of an upload, but not the upload."""
        _remove(self.unpacked(dataset))
        _remove(self.home(dataset))

    def remove(self, dataset: str) -> None:
        """Remove everything of a dataset."""
        self.remove_work(dataset)
        _remove(self.home(dataset))

    def found(self) -> Iterator[str]:
        """The ids of which something is there. What has no such name is not the server's, and is left alone."""
        names = {path.name for folder in (self.uploads, self.datasets) for path in folder.iterdir()}
        yield from sorted({match[1] for name in names if (match := _OURS.fullmatch(name))})


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
