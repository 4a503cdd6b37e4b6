"""Names of uploaded files."""

from __future__ import annotations

import pytest

from limbeck.errors import DataError
from limbeck_server.side.file_names import FileName


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("photos.zip", "photos.zip"),
        ("my photos (1).tar.gz", "my-photos-1.tar.gz"),
        ("C:\\data\\digits.NPZ", "digits.npz"),
        ("../../etc/digits.npz", "digits.npz"),
        (".zip", "data.zip"),
        ("-rf.tgz", "rf.tgz"),
        ("фото.parquet", "data.parquet"),
        ("a" * 300 + ".pt", "a" * 64 + ".pt"),
        ("run.v2.safetensors", "run.v2.safetensors"),
    ],
)
def test_a_name_keeps_what_is_safe_anywhere(given: str, kept: str) -> None:
    assert FileName.parse(given).text == kept


@pytest.mark.parametrize("given", ["", "photos", "photos.rar", "zip", "photos.zip/", "photos.zip\0"])
def test_a_name_of_no_kind_that_can_be_read_is_refused(given: str) -> None:
    with pytest.raises(DataError, match=r"\.zip"):
        FileName.parse(given)


@pytest.mark.parametrize(("given", "packed"), [("a.zip", True), ("a.tbz2", True), ("a.npz", False), ("a.pth", False)])
def test_archives_are_told_from_files_that_stay_as_they_are(given: str, packed: bool) -> None:
    assert FileName.parse(given).is_archive is packed
