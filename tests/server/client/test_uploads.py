"""Bringing datasets to the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.errors import DataError
from limbeck_server.client import Client, RequestError
from limbeck_server.store.records import DatasetState
from support.flaky import flaky
from support.served import Served
from support.uploads import pictures, write_files


def photos(folder: Path, *, per_class: int = 8, side: int = 64) -> Path:
    return write_files(folder, pictures("cat", "dog", per_class=per_class, side=side))


def test_a_folder_becomes_a_dataset(client: Client, tmp_path: Path) -> None:
    dataset = client.upload_dataset(photos(tmp_path / "photos", per_class=3))
    assert (dataset.state, dataset.num_images, dataset.num_classes) == (DatasetState.READY, 6, 2)
    assert (dataset.display_name, dataset.uploaded) == ("photos", True)


def test_progress_ends_at_the_files_size(client: Client, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    client.upload_dataset(photos(tmp_path, side=65), on_progress=lambda *step: steps.append(step))
    stage, sent, total = steps[-1]
    assert (stage, sent) == ("uploading", total)


def test_the_same_images_are_sent_once(client: Client, tmp_path: Path) -> None:
    first = client.upload_dataset(photos(tmp_path / "a", side=20))
    second = client.upload_dataset(photos(tmp_path / "b", side=20))
    assert second.name == first.name
    assert first.name in [dataset.name for dataset in client.datasets()]


def test_a_connection_that_breaks_changes_no_byte(server: Served, tmp_path: Path) -> None:
    folder = photos(tmp_path, per_class=20)
    with flaky(server.port, up=[9_000, 70_000, 1_000, 200_000, 100_000]) as way, Client(way.address) as broken:
        dataset = broken.upload_dataset(folder)
        assert way.broken >= 3
    # the server compares the whole with its digest before it looks through it
    assert (dataset.state, dataset.num_images) == (DatasetState.READY, 40)


def test_images_that_cannot_be_used_are_the_callers_error(client: Client, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "photos", {"notes.txt": b"no image"})
    with pytest.raises(DataError, match="cannot use"):
        client.upload_dataset(folder)


def test_a_file_that_is_not_there_is_named(client: Client, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.zip"):
        client.upload_dataset(tmp_path / "missing.zip")


def test_a_deleted_dataset_is_gone(client: Client, tmp_path: Path) -> None:
    dataset = client.upload_dataset(photos(tmp_path, side=9))
    assert client.dataset(dataset).name == dataset.name
    client.delete(dataset)
    assert dataset.name not in [found.name for found in client.datasets()]


def test_a_folder_of_the_server_must_be_allowed(client: Client) -> None:
    with pytest.raises(RequestError, match="upload the images instead"):
        client.register_dataset("/photos")
