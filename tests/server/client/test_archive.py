"""A folder as a zip whose bytes depend on names and contents alone."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from limbeck.errors import DataError
from limbeck_server.client.archive import write_zip
from support.uploads import write_files

FILES = {"cat/1.png": b"one", "cat/2.png": b"two", "dog/1.png": b"three"}


def packed(folder: Path) -> bytes:
    out = folder.with_suffix(".zip")
    write_zip(folder, out)
    return out.read_bytes()


def test_every_file_is_in_it_as_it_was(tmp_path: Path) -> None:
    packed(write_files(tmp_path / "a", FILES))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == FILES


def test_when_and_in_which_order_files_were_written_changes_nothing(tmp_path: Path) -> None:
    first = write_files(tmp_path / "a", FILES)
    second = write_files(tmp_path / "b", dict(reversed(FILES.items())))
    os.utime(second / "cat" / "1.png", (1, 1))
    assert packed(first) == packed(second)


def test_a_class_without_an_image_is_packed_too_so_that_it_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "photos/cat").mkdir(parents=True)
    (tmp_path / "photos/cat/1.png").write_bytes(b"1")
    (tmp_path / "photos/dog").mkdir()
    write_zip(tmp_path / "photos", tmp_path / "photos.zip")
    with zipfile.ZipFile(tmp_path / "photos.zip") as archive:
        assert archive.namelist() == ["cat/1.png", "dog/"]


def test_hidden_files_stay_out(tmp_path: Path) -> None:
    hidden = {".git/config": b"", "cat/.DS_Store": b""}
    assert packed(write_files(tmp_path / "a", {**FILES, **hidden})) == packed(write_files(tmp_path / "b", FILES))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no files"):
        packed(tmp_path)


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "a", FILES)
    (folder / "bird").symlink_to(folder / "cat")
    with pytest.raises(DataError, match="links to a folder"):
        packed(folder)
