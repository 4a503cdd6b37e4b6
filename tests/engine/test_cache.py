from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from limbeck.cache import Cache, default_root
from limbeck.errors import ConfigError

KEY = "0123456789abcdef"


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def read(cache: Cache, name: str) -> dict[str, bytes] | None:
    files = cache.get(name)
    return None if files is None else {file: path.read_bytes() for file, path in files.items()}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def test_what_was_put_is_got(cache):
    files = {"engine.bin": b"\0\1\2", "profile.json": b"{}"}
    assert cache.put(KEY, files)
    assert read(cache, KEY) == files


def test_another_cache_object_of_the_same_root_finds_it(cache):
    cache.put(KEY, {"engine.bin": b"abc"})
    assert read(Cache(cache.root), KEY) == {"engine.bin": b"abc"}


def test_what_was_never_put_is_missing(cache):
    assert cache.get(KEY) is None


def test_asking_makes_no_folder(cache):
    cache.get(KEY)
    assert not cache.root.exists()


def test_the_content_of_a_path_is_copied(cache, tmp_path):
    source = tmp_path / "built"
    source.write_bytes(b"first")
    cache.put(KEY, {"engine.bin": source})
    source.write_bytes(b"other")
    assert read(cache, KEY) == {"engine.bin": b"first"}


def test_a_second_put_replaces_the_whole_entry(cache):
    cache.put(KEY, {"a": b"1", "b": b"2"})
    cache.put(KEY, {"a": b"3"})
    assert read(cache, KEY) == {"a": b"3"}


def test_an_entry_says_for_people_what_it_is_of(cache):
    cache.put(KEY, {"engine.bin": b"abc"}, about={"backend": "tensorrt", "targets": [75, 89]})
    meta = json.loads((cache.root / "entries" / KEY / "meta.json").read_text())
    assert meta["about"] == {"backend": "tensorrt", "targets": [75, 89]}


def test_an_entry_records_sizes_and_digests(cache):
    cache.put(KEY, {"engine.bin": b"abc"})
    meta = json.loads((cache.root / "entries" / KEY / "meta.json").read_text())
    assert meta["files"] == {"engine.bin": {"nbytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}}


@pytest.mark.parametrize("bad", ["", "short", "../../../../etc/passwd", "0123456789ABCDEF", KEY + "/x", "0" * 129])
def test_a_key_that_is_no_digest_is_refused(cache, bad):
    with pytest.raises(ConfigError, match="a cache key is 16 to 128 lowercase hexadecimal digits, got"):
        cache.get(bad)


@pytest.mark.parametrize("bad", ["", "..", "a/b", "meta.json", ".hidden", "a\0b"])
def test_a_file_name_that_could_lead_elsewhere_is_refused(cache, bad):
    with pytest.raises(ConfigError, match="cannot have a file called"):
        cache.put(KEY, {bad: b""})


def test_a_limit_below_one_byte_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="limit of at least one byte, got limit_nbytes=0"):
        Cache(tmp_path, limit_nbytes=0)


def test_the_environment_names_the_root(monkeypatch, tmp_path):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "here"))
    assert default_root() == tmp_path / "here"


def test_without_the_environment_the_root_is_the_users(monkeypatch):
    monkeypatch.delenv("LIMBECK_CACHE", raising=False)
    assert "limbeck" in default_root().parts


def test_the_least_recently_put_makes_room(tmp_path):
    cache = Cache(tmp_path, limit_nbytes=30)
    for number in range(4):
        cache.put(key(number), {"engine.bin": bytes(10)})
    assert [cache.get(key(number)) is not None for number in range(4)] == [False, True, True, True]


def test_what_was_got_since_stays(tmp_path):
    cache = Cache(tmp_path, limit_nbytes=30)
    for number in range(3):
        cache.put(key(number), {"engine.bin": bytes(10)})
    cache.get(key(0))
    cache.put(key(3), {"engine.bin": bytes(10)})
    assert [cache.get(key(number)) is not None for number in range(4)] == [True, False, True, True]


def test_a_replaced_entry_needs_no_room_beside_itself(tmp_path):
    cache = Cache(tmp_path, limit_nbytes=30)
    for number in (0, 1, 2, 2, 2):
        cache.put(key(number), {"engine.bin": bytes(10)})
    assert cache.nbytes == 30


def test_what_is_larger_than_the_limit_is_not_kept_and_the_rest_stays(tmp_path):
    cache = Cache(tmp_path, limit_nbytes=30)
    cache.put(key(0), {"engine.bin": bytes(10)})
    assert not cache.put(key(1), {"engine.bin": bytes(31)})
    assert cache.get(key(0)) is not None


def truncated(entry: Path) -> None:
    (entry / "engine.bin").write_bytes(b"ab")


def flipped(entry: Path) -> None:
    (entry / "engine.bin").write_bytes(b"abd")


def lost(entry: Path) -> None:
    (entry / "engine.bin").unlink()


def joined(entry: Path) -> None:
    (entry / "stranger").write_bytes(b"")


def meta_lost(entry: Path) -> None:
    (entry / "meta.json").unlink()


def meta_truncated(entry: Path) -> None:
    (entry / "meta.json").write_bytes(b'{"format": 1')


def meta_of_another(entry: Path) -> None:
    meta = entry / "meta.json"
    meta.write_text(meta.read_text().replace(KEY, key(0)))


DAMAGES = [truncated, flipped, lost, joined, meta_lost, meta_truncated, meta_of_another]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_missing(cache, damage):
    cache.put(KEY, {"engine.bin": b"abc"})
    damage(cache.root / "entries" / KEY)
    assert cache.get(KEY) is None


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_moved_to_the_quarantine(cache, damage):
    cache.put(KEY, {"engine.bin": b"abc"})
    damage(cache.root / "entries" / KEY)
    cache.get(KEY)
    assert [path.name.partition("-")[0] for path in (cache.root / "quarantine").iterdir()] == [KEY]


def test_a_damaged_entry_can_be_put_again(cache):
    cache.put(KEY, {"engine.bin": b"abc"})
    truncated(cache.root / "entries" / KEY)
    cache.get(KEY)
    cache.put(KEY, {"engine.bin": b"abc"})
    assert read(cache, KEY) == {"engine.bin": b"abc"}


def test_the_quarantine_keeps_only_the_last_few(cache):
    for number in range(7):
        cache.put(key(number), {"engine.bin": b"abc"})
        truncated(cache.root / "entries" / key(number))
        cache.get(key(number))
    kept = {path.name.partition("-")[0] for path in (cache.root / "quarantine").iterdir()}
    assert kept == {key(number) for number in range(3, 7)}


def test_a_root_that_cannot_be_a_folder_keeps_nothing_and_says_so(tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    assert not Cache(tmp_path / "file" / "cache").put(KEY, {"engine.bin": b"abc"})
    assert "cache_unwritable" in caplog.text


WRITER = """
import sys
from pathlib import Path
from limbeck.cache import Cache
cache, letter = Cache(Path(sys.argv[1])), sys.argv[2].encode()
for _ in range(20):
    assert cache.put("0123456789abcdef", {"one": letter * 1000, "two": letter * 1000})
"""

ENDLESS_WRITER = """
import hashlib, sys
from pathlib import Path
from limbeck.cache import Cache
cache, number = Cache(Path(sys.argv[1])), 0
while True:
    cache.put(hashlib.sha256(str(number % 3).encode()).hexdigest(), {name: bytes(300_000) for name in "abcdef"})
    number += 1
"""


def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)])


def test_of_two_processes_that_write_one_key_at_once_one_wins_whole(cache):
    writers = [start(WRITER, cache.root, letter) for letter in "xy"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        # replaced between `get` and reading it: no more than a miss
        try:
            files = read(cache, KEY)
        except FileNotFoundError:
            continue
        if files is not None:
            seen.add(frozenset(content[:1] for content in files.values()))
    assert [writer.wait() for writer in writers] == [0, 0]
    assert read(cache, KEY) in [{"one": letter * 1000, "two": letter * 1000} for letter in (b"x", b"y")]
    assert not (cache.root / "quarantine").exists()


def wait_for_a_write(root: Path, writer: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not list(root.glob("temporary/*/*")):
        assert writer.poll() is None
        assert time.monotonic() < deadline


@pytest.mark.parametrize("delay_seconds", [0.0, 0.002, 0.011])
def test_a_writer_that_is_killed_leaves_only_whole_entries(cache, delay_seconds):
    writer = start(ENDLESS_WRITER, cache.root)
    wait_for_a_write(cache.root, writer)
    time.sleep(delay_seconds)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    entries = list((cache.root / "entries").glob("*"))
    assert all(read(cache, entry.name) == {name: bytes(300_000) for name in "abcdef"} for entry in entries)


def test_what_a_killed_writer_left_is_cleared_by_the_next(cache):
    writer = start(ENDLESS_WRITER, cache.root)
    wait_for_a_write(cache.root, writer)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert cache.put(KEY, {"engine.bin": b"abc"})
    assert list((cache.root / "temporary").iterdir()) == []
