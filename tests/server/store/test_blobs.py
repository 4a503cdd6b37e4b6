from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import support.blob_child
from limbeck.errors import ConfigError, DataError, OutputError
from limbeck_server.store.blobs import Blobs
from support.disks import files_of_at_most, tiny_disk

__all__ = ["tiny_disk"]

CHILD = Path(support.blob_child.__file__)
SECONDS = 60
"""After which a test that hangs is ended."""


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def files(blobs: Blobs) -> list[Path]:
    return [path for path in blobs.folder.rglob("*") if path.is_file() and path.name != "lock"]


def collect_all(blobs: Blobs, keep: set[str]) -> int:
    """Collect as one does who has seen everything before."""
    blobs.collect(keep, older_than_seconds=1000)
    return blobs.collect(keep, older_than_seconds=0)


def test_what_is_put_is_read(blobs: Blobs) -> None:
    assert blobs.read(blobs.put(b"an image")) == b"an image"


def test_an_address_is_the_sha_256_of_the_content(blobs: Blobs) -> None:
    assert blobs.put(b"an image") == hashlib.sha256(b"an image").hexdigest()


def test_a_file_lies_where_its_address_says(blobs: Blobs) -> None:
    digest = blobs.put(b"an image")
    assert files(blobs) == [blobs.folder / digest[:2] / digest[2:]] == [blobs.path(digest)]


@pytest.mark.parametrize("chunks", [[], [b""], [b"an ", b"", b"image"], [b"x" * 100_000] * 30])
def test_chunks_are_one_file(blobs: Blobs, chunks: list[bytes]) -> None:
    assert blobs.read(blobs.put_stream(iter(chunks))) == b"".join(chunks)


def test_putting_twice_keeps_one_file(blobs: Blobs) -> None:
    assert blobs.put(b"an image") == blobs.put_stream([b"an image"])
    assert len(files(blobs)) == 1


def test_putting_again_mends_a_damaged_file(blobs: Blobs) -> None:
    digest = blobs.put(b"an image")
    blobs.path(digest).write_bytes(b"an imag")
    blobs.put(b"an image")
    assert blobs.read(digest) == b"an image"


def test_chunks_that_end_in_an_error_leave_nothing(blobs: Blobs) -> None:
    def broken() -> Iterator[bytes]:
        yield b"an "
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError, match="gone"):
        blobs.put_stream(broken())
    assert files(blobs) == []


@pytest.mark.parametrize("digest", ["", "a" * 63, "A" * 64, "../" * 21 + "a", "a" * 64 + "\n"])
def test_what_is_no_address_is_refused(blobs: Blobs, digest: str) -> None:
    with pytest.raises(ConfigError, match="64 lowercase hexadecimal digits"):
        blobs.read(digest)


def test_an_address_that_nothing_has_is_said(blobs: Blobs) -> None:
    with pytest.raises(DataError, match=f"blob {'a' * 64} cannot be read: No such file"):
        blobs.read("a" * 64)


@pytest.mark.parametrize("damage", [b"", b"an imag", b"an imagE"])
def test_a_damaged_file_is_not_given_out_and_stays(blobs: Blobs, damage: bytes) -> None:
    digest = blobs.put(b"an image")
    blobs.path(digest).write_bytes(damage)
    with pytest.raises(DataError, match=f"blob {digest} is damaged: its {len(damage)} bytes"):
        blobs.read(digest)
    assert blobs.path(digest).read_bytes() == damage


class TestDisk:
    def test_a_full_disk_is_said_with_what_was_needed(self, tiny_disk: Path) -> None:
        with pytest.raises(OutputError, match=r"the disk is full: .* this step needs 2,000,000"):
            Blobs(tiny_disk / "blobs").put(bytes(2_000_000))

    def test_a_full_disk_keeps_no_part_of_a_file(self, tiny_disk: Path) -> None:
        blobs = Blobs(tiny_disk / "blobs")
        with pytest.raises(OutputError):
            blobs.put_stream(bytes(100_000) for _ in range(30))
        assert files(blobs) == []

    def test_a_disk_that_refuses_is_said(self, blobs: Blobs) -> None:
        with pytest.raises(OutputError, match=r"cannot write to .*: File too large"), files_of_at_most(1000):
            blobs.put(bytes(2000))


class TestCollecting:
    def test_what_nothing_refers_to_goes(self, blobs: Blobs) -> None:
        kept, gone = blobs.put(b"kept"), blobs.put(b"gone")
        assert collect_all(blobs, {kept}) == 1
        assert files(blobs) == [blobs.path(kept)]
        assert not blobs.path(gone).exists()

    def test_a_question_may_be_asked_instead_of_a_set(self, blobs: Blobs) -> None:
        kept = blobs.put(b"kept")
        blobs.collect(lambda digest: digest == kept, older_than_seconds=0)
        assert blobs.collect(lambda digest: digest == kept, older_than_seconds=0) == 0

    def test_nothing_goes_that_is_seen_for_the_first_time(self, blobs: Blobs) -> None:
        blobs.put(b"new")
        assert blobs.collect(set(), older_than_seconds=0) == 0

    def test_the_young_stay(self, blobs: Blobs) -> None:
        blobs.put(b"young")
        assert [blobs.collect(set(), older_than_seconds=1000) for _ in range(3)] == [0, 0, 0]

    def test_what_was_put_again_is_young_again(self, blobs: Blobs) -> None:
        blobs.put(b"an image")
        blobs.collect(set(), older_than_seconds=0)
        blobs.put(b"an image")
        assert blobs.collect(set(), older_than_seconds=0) == 0

    def test_a_clock_that_was_wrong_when_a_file_was_written_takes_nothing(self, blobs: Blobs) -> None:
        os.utime(blobs.path(blobs.put(b"of 1970")), (0, 0))
        assert [blobs.collect(set(), older_than_seconds=1000) for _ in range(2)] == [0, 0]

    def test_what_a_killed_process_left_half_written_goes(self, blobs: Blobs) -> None:
        kept = blobs.put(b"kept")
        (blobs.folder / "incoming" / "torn").write_bytes(b"half of an im")
        assert collect_all(blobs, {kept}) == 1
        assert files(blobs) == [blobs.path(kept)]

    def test_a_folder_that_was_never_used_has_nothing_to_collect(self, blobs: Blobs) -> None:
        assert collect_all(blobs, set()) == 0


def test_processes_that_put_the_same_and_are_killed_leave_only_whole_files(blobs: Blobs) -> None:
    told: set[str] = set()
    for seed in range(0, 8, 2):
        children = [
            subprocess.Popen([sys.executable, str(CHILD), str(blobs.folder), str(seed + n)], stdout=subprocess.PIPE)
            for n in range(2)
        ]
        for child in children:
            assert child.stdout is not None
            told |= {child.stdout.readline().decode().strip() for _ in range(random.Random(seed).randrange(5, 30))}
        for child in children:
            with child:
                child.kill()
                child.wait(SECONDS)
    assert all(blobs.read(digest) for digest in told)
    whole = [path for path in files(blobs) if path.parent.name != "incoming"]
    assert all(blobs.read(path.parent.name + path.name) for path in whole)


def test_collecting_beside_processes_that_put_takes_nothing_that_was_put_since(blobs: Blobs) -> None:
    command = [sys.executable, str(CHILD), str(blobs.folder)]
    with (
        subprocess.Popen([*command, "1"], stdout=subprocess.DEVNULL) as other,
        subprocess.Popen([*command, "2", "--asked"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asked,
    ):
        assert asked.stdin is not None
        assert asked.stdout is not None
        for _ in range(50):
            print(file=asked.stdin, flush=True)
            digest = asked.stdout.readline().strip()
            blobs.collect({digest}, older_than_seconds=0)
            assert blobs.read(digest)
        other.kill()
        asked.stdin.close()
