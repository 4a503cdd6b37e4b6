"""The server's settings: a file, flags over it, and what they mean together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from limbeck.errors import ConfigError, PackError
from limbeck.pack import shipped_packs
from limbeck_server.settings import ServerSettings


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('root = "/srv/a"\naddress = "127.0.0.1:1"\nthreads = 2\n')
    found = ServerSettings.read(file, {"root": Path("/srv/b"), "address": None})
    assert (found.root, found.address, found.threads) == (Path("/srv/b"), "127.0.0.1:1", 2)


def test_sizes_are_written_as_people_write_them(tmp_path: Path) -> None:
    found = ServerSettings.read(None, {"root": tmp_path, "budget": "4GiB", "chunk_nbytes": "1MiB"})
    assert (found.budget, found.chunk_nbytes) == (4 * 2**30, 2**20)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("root = 1", "root"),
        ('root = "a"\nthreds = 1', "threds"),
        ('root = "a"\ndevices = []', "devices"),
        ("root", "cannot be read"),
    ],
)
def test_settings_that_cannot_work_are_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        ServerSettings.read(file, {})


def test_a_server_has_the_shipped_packs_and_those_of_a_folder(tmp_path: Path) -> None:
    shutil.copytree(shipped_packs()["mini"], tmp_path / "packs" / "mine")
    found = ServerSettings(root=tmp_path, packs=[tmp_path / "packs"]).find_packs()
    assert set(found) == {*shipped_packs(), "mine"}


def test_a_folder_that_has_no_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="no pack"):
        ServerSettings(root=tmp_path, packs=[tmp_path]).find_packs()


def test_two_packs_of_one_name_are_refused(tmp_path: Path) -> None:
    shutil.copytree(shipped_packs()["mini"], tmp_path / "packs" / "mini")
    with pytest.raises(PackError, match="two packs are called 'mini'"):
        ServerSettings(root=tmp_path, packs=[tmp_path / "packs"]).find_packs()
