"""Images of a job on this machine's disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the client extra is not installed")

from limbeck.errors import DataError
from limbeck_server.client import DistilledImage
from limbeck_server.client.image_cache import CachedImage, ImageCache
from support.uploads import picture


def image(number: int) -> DistilledImage:
    png = picture(number)
    digest = hashlib.sha256(png).hexdigest()
    return DistilledImage(number=number, label=0, class_name="cat", position=number - 1, png=png, sha256=digest, row={})


def filled(folder: Path, count: int = 3) -> ImageCache:
    cache = ImageCache(folder)
    for number in range(1, count + 1):
        cache.add(image(number))
    return cache


def numbers(cache: ImageCache) -> list[int]:
    return [one.number for one in cache.listed()[0]]


def test_images_are_read_in_the_order_in_which_they_were_added(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    assert numbers(cache) == [1, 2, 3]
    assert cache.open(cache.listed()[0][1]).size == (8, 8)


def test_reading_goes_on_where_it_was(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    _, offset = cache.listed()
    cache.add(image(4))
    assert [one.number for one in cache.listed(offset)[0]] == [4]


def test_half_a_line_is_not_there_yet(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    with (tmp_path / "images.jsonl").open("ab") as lines:
        lines.write(b'{"number": 4, "la')
    images, offset = cache.listed()
    assert (len(images), cache.listed(offset)) == (3, ([], offset))


def test_repairing_drops_half_a_line(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    with (tmp_path / "images.jsonl").open("ab") as lines:
        lines.write(b'{"number": 4, "la')
    assert cache.repair() == 3
    cache.add(image(4))
    assert numbers(cache) == [1, 2, 3, 4]


def test_repairing_drops_images_from_a_torn_file_on(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    (tmp_path / "images" / "00000002.png").write_bytes(b"")
    assert cache.repair() == 1
    assert numbers(cache) == [1]


def test_a_damaged_image_is_refused(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    (tmp_path / "images" / "00000002.png").write_bytes(picture(9))
    with pytest.raises(DataError, match="is damaged; remove"):
        cache.open(cache.listed()[0][1])


def test_a_lost_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"00000007\.png cannot be read"):
        ImageCache(tmp_path).open(CachedImage(7, 0, "cat", 0, ""))


def test_how_many_there_will_be_and_whether_there_are_more_is_said(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)
    assert (cache.num_images(), cache.end()) == (None, None)
    cache.begin(9)
    cache.finish("cancelled")
    end = cache.end()
    assert (cache.num_images(), end and end.message) == (9, "cancelled")
