from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from limbeck_server.store.errors import RootInUseError
from limbeck_server.store.lock import RootLock

HOLD = """
import sys, time
from pathlib import Path
from limbeck_server.store.lock import RootLock
with RootLock(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""
SECONDS = 60
"""After which a test that hangs is ended."""


def test_a_root_has_one_server_and_the_error_names_its_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(RootInUseError, match=f"another server works on .*: process {other.pid}; stop"):
            RootLock(tmp_path).__enter__()
        other.kill()
        other.wait(SECONDS)


def test_a_killed_servers_lock_is_free(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.kill()
        other.wait(SECONDS)
    with RootLock(tmp_path):
        assert (tmp_path / "run" / "front.pid").read_text() == f"{os.getpid()}\n"


def test_a_server_that_has_ended_leaves_the_root_to_the_next(tmp_path: Path) -> None:
    for _ in range(2):
        with RootLock(tmp_path):
            pass
    assert not (tmp_path / "run" / "front.pid").exists()


def test_roots_are_locked_apart(tmp_path: Path) -> None:
    with RootLock(tmp_path / "a"), RootLock(tmp_path / "b"):
        pass
