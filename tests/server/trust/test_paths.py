"""Paths that callers name, and ways out of the folders that are allowed."""

from __future__ import annotations

import os

import pytest

from limbeck_server.trust.errors import PathRefusedError
from limbeck_server.trust.paths import AllowedRoots


@pytest.fixture
def allowed(tmp_path):
    (tmp_path / "allowed" / "set" / "cat").mkdir(parents=True)
    (tmp_path / "allowed" / "set" / "cat" / "1.png").write_bytes(b"1")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(b"2")
    (tmp_path / "allowed-too").mkdir()
    return tmp_path / "allowed"


def test_a_folder_below_an_allowed_one_is_resolved(allowed):
    assert AllowedRoots([allowed]).resolve(str(allowed / "set")) == (allowed / "set").resolve()


def test_a_link_that_stays_inside_is_followed(allowed):
    (allowed / "alias").symlink_to("set")
    assert AllowedRoots([allowed]).resolve(str(allowed / "alias")) == (allowed / "set").resolve()


def test_an_allowed_folder_may_be_a_link_itself(allowed, tmp_path):
    (tmp_path / "data").symlink_to(allowed)
    found = AllowedRoots([tmp_path / "data"]).resolve(str(tmp_path / "data" / "set"))
    assert found == (allowed / "set").resolve()


@pytest.mark.parametrize(
    "text",
    [
        "{root}/../secret",
        "{root}/set/../../secret/key",
        "{root}-too",
        "{root}/out",
        "{root}/out/key",
        "{root}/chain/key",
        "/etc/passwd",
        "/",
        "set",
        "",
        ".",
        "~/set",
        "{root}/set\0/../../secret",
        "file://{root}/set",
        "{root}/" + "a" * 5000,
        "{root}/pipe",
        "{root}/missing",
        "{root}/loop",
        "/proc/self/root/etc/passwd",
        "{root}/\ud800",
    ],
)
def test_what_leads_out_or_is_no_folder_or_file_is_refused(allowed, text):
    (allowed / "out").symlink_to("../secret")
    (allowed / "chain").symlink_to("out")
    (allowed / "loop").symlink_to("loop")
    os.mkfifo(allowed / "pipe")
    with pytest.raises(PathRefusedError):
        AllowedRoots([allowed]).resolve(text.replace("{root}", str(allowed)))


def test_whether_something_is_there_is_not_told_of_other_folders(allowed, tmp_path):
    roots = AllowedRoots([allowed])
    messages = set()
    for name in ("secret/key", "secret/nothing"):
        with pytest.raises(PathRefusedError) as caught:
            roots.resolve(str(tmp_path / name))
        messages.add(str(caught.value).replace(name, ""))
    assert len(messages) == 1


def test_a_server_without_allowed_folders_reads_none(allowed):
    with pytest.raises(PathRefusedError, match="upload the images instead"):
        AllowedRoots([]).resolve(str(allowed))


def test_a_folder_that_was_exchanged_for_a_link_is_refused_when_it_is_resolved_again(allowed):
    roots = AllowedRoots([allowed])
    path = roots.resolve(str(allowed / "set"))
    (allowed / "set").rename(allowed / "was")
    (allowed / "set").symlink_to("../secret")
    with pytest.raises(PathRefusedError):
        roots.resolve(str(path))


def test_a_tree_of_folders_files_and_links_inside_passes(allowed):
    (allowed / "set" / "dog").symlink_to("cat")
    (allowed / "set" / "cat" / "again").symlink_to("..")
    AllowedRoots([allowed]).check_tree(allowed / "set")


@pytest.mark.parametrize("target", ["../../../secret/key", "../../../secret", "/etc/passwd", "missing", "loop.png"])
def test_a_link_deep_in_a_tree_that_leads_out_or_nowhere_is_named(allowed, target):
    (allowed / "set" / "cat" / "loop.png").symlink_to(target)
    with pytest.raises(PathRefusedError, match=r"loop\.png"):
        AllowedRoots([allowed]).check_tree(allowed / "set")


def test_what_a_link_inside_leads_to_is_checked_too(allowed):
    (allowed / "other").mkdir()
    (allowed / "other" / "key").symlink_to("../../secret/key")
    (allowed / "set" / "dog").symlink_to("../other")
    with pytest.raises(PathRefusedError, match="leads out"):
        AllowedRoots([allowed]).check_tree(allowed / "set")


def test_a_pipe_in_a_tree_is_refused_and_not_opened(allowed):
    os.mkfifo(allowed / "set" / "cat" / "2.png")
    with pytest.raises(PathRefusedError, match="neither a folder nor a file"):
        AllowedRoots([allowed]).check_tree(allowed / "set")
