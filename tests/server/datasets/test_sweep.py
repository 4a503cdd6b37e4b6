"""What a server that died left behind, on a real ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from limbeck_server.datasets.folders import DatasetFolders
from limbeck_server.datasets.sweep import sweep
from limbeck_server.store.records import Dataset, DatasetState
from limbeck_server.store.sqlite import SqliteStore

ID = "0123456789abcdef0123456789abcdef"
DATASET = Dataset(
    id=ID, owner="", display_name="", path="", uploaded=True, state=DatasetState.UPLOADING, created_at=0.0
)


def leftovers(folders: DatasetFolders) -> set[str]:
    folders.part(ID).write_bytes(b"part")
    for folder in (folders.unpacked(ID), folders.home(ID)):
        (folder / "cat").mkdir(parents=True)
        (folder / "cat" / "0.png").write_bytes(b"image")
    return there(folders)


def there(folders: DatasetFolders) -> set[str]:
    places = {"part": folders.part(ID), "unpacked": folders.unpacked(ID), "home": folders.home(ID)}
    return {name for name, path in places.items() if path.exists()}


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        (None, {"home"}),
        (DatasetState.FAILED, set()),
        (DatasetState.READY, {"home"}),
        (DatasetState.UPLOADING, {"part"}),
        (DatasetState.CHECKING, {"part"}),
    ],
)
def test_only_what_the_dataset_needs_is_kept(state: DatasetState | None, kept: set[str], tmp_path: Path) -> None:
    store, folders = SqliteStore(tmp_path / "ledger.sqlite"), DatasetFolders(tmp_path)
    if state is not None:
        store.create_dataset(owner="", request_id="", dataset=replace(DATASET, state=state))
    assert leftovers(folders) == {"part", "unpacked", "home"}
    assert sweep(store, folders) == 1
    assert there(folders) == kept
    store.close()


def test_files_with_other_names_are_left_alone(tmp_path: Path) -> None:
    store, folders = SqliteStore(tmp_path / "ledger.sqlite"), DatasetFolders(tmp_path)
    names = ["notes.txt", f"{ID}.part.bak", ID[:-1], ID.upper()]
    for name in names:
        (folders.uploads / name).write_text("mine")
    assert sweep(store, folders) == 0
    assert sorted(path.name for path in folders.uploads.iterdir()) == sorted(names)
    store.close()


def test_a_link_that_somebody_put_there_is_not_followed(tmp_path: Path) -> None:
    store, folders = SqliteStore(tmp_path / "ledger.sqlite"), DatasetFolders(tmp_path)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep me")
    folders.home(ID).symlink_to(precious)
    sweep(store, folders)
    assert (precious / "file").read_text() == "keep me"
    store.close()
