"""What the SQLite store owes beside the contract: nothing acknowledged is lost, whatever kills it or fills its disk."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

import support.store_child
from limbeck_server.store.blobs import Blobs
from limbeck_server.store.errors import StoreFullError
from limbeck_server.store.records import FINAL, JobState
from limbeck_server.store.sqlite import SqliteStore
from support.disks import tiny_disk
from support.stores import finish, lease, new_job, running_job, succeeded_job

__all__ = ["tiny_disk"]

CHILD = Path(support.store_child.__file__)
SECONDS = 60
"""After which a test that hangs is ended."""


class Acknowledged:
    """What processes have said that they did, to be held against the ledger."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()
        self.units: dict[tuple[str, int], list[str]] = {}
        self.sets: dict[str, str] = {}
        self.ending: set[str] = set()

    def take(self, lines: list[str]) -> None:
        for line in lines:
            what, *of = json.loads(line)
            if what == "created":
                self.jobs.add(of[0])
            elif what == "finished":
                assert (of[0], of[1]) not in self.units, "a unit was acknowledged twice"
                self.units[of[0], of[1]] = of[2]
            elif what == "published":
                self.sets[of[0]] = of[1]
            elif what == "asked_to_end":
                self.ending.add(of[0])
            elif what == "deleting":
                self.jobs.discard(of[0])
                self.ending.discard(of[0])
                self.units = {key: value for key, value in self.units.items() if key[0] != of[0]}

    def check(self, folder: Path) -> None:
        """Everything is there, and nothing of it twice; opening the ledger checks its file."""
        store, blobs = SqliteStore(folder / "ledger.sqlite"), Blobs(folder / "blobs")
        for job in self.jobs:
            assert [event.sequence for event in store.events(job)] == list(range(1, store.job(job).sequence + 1))
            images = store.images(job)
            assert [number for number, _ in images] == list(range(1, len(images) + 1))
            assert len({(image.label, image.position) for _, image in images}) == len(images)
        for (job, unit), digests in self.units.items():
            assert [image.digest for _, image in store.images(job) if image.label == unit] == digests
            assert all(blobs.read(digest) for digest in digests)
        for job, made in self.sets.items():
            assert store.distilled_set(made).job == job
        for job in self.ending:
            now = store.job(job)
            assert now.cancel_requested or now.state in FINAL
        store.close()


def killed_child(folder: Path, seed: int) -> list[str]:
    """What a child has acknowledged until it was killed at a random moment."""
    moment = random.Random(seed)
    command = [sys.executable, str(CHILD), str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(moment.randrange(1, 60))]
        time.sleep(moment.random() * 0.01)
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.read().splitlines()
        assert child.wait(SECONDS) == -signal.SIGKILL, "the child ended by itself"
    return [line for line in lines if line.endswith("]") or line.endswith("]\n")]


def test_what_was_acknowledged_survives_kills_at_random_moments(tmp_path: Path) -> None:
    known = Acknowledged()
    for seed in range(20):
        known.take(killed_child(tmp_path, seed))
        known.check(tmp_path)
    assert len(known.jobs) > 20
    assert len(known.units) > 20


def test_events_and_leases_do_not_depend_on_the_clock(tmp_path: Path) -> None:
    backwards = count(1_000_000_000, -1000)
    store = SqliteStore(tmp_path / "ledger.sqlite", clock=lambda: float(next(backwards)))
    first, second = running_job(store, units=2), running_job(store, units=2)
    served = [lease(store).job.id for _ in range(4)]
    events = store.events(first.id)
    assert served == [first.id, second.id, first.id, second.id]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [job.id for job in store.jobs()[0]] == [second.id, first.id]
    store.close()


def fill(store: SqliteStore, acknowledged: list[str]) -> None:
    """Make jobs until the disk is full."""
    while True:
        acknowledged.append(new_job(store, spec={"text": "x" * 2000}).id)


def test_a_full_disk_is_said_and_loses_nothing(tiny_disk: Path) -> None:
    store = SqliteStore(tiny_disk / "ledger.sqlite")
    acknowledged: list[str] = []
    with pytest.raises(StoreFullError, match=r"the disk of .* is full; nothing was changed"):
        fill(store, acknowledged)
    assert [job.id for job in store.jobs(limit=10_000)[0]] == acknowledged[::-1]
    store.close()


def test_work_goes_on_when_a_full_disk_has_space_again(tiny_disk: Path) -> None:
    store = SqliteStore(tiny_disk / "ledger.sqlite")
    (tiny_disk / "filler").write_bytes(bytes(shutil.disk_usage(tiny_disk).free))
    with pytest.raises(StoreFullError):
        fill(store, [])
    (tiny_disk / "filler").unlink()
    assert succeeded_job(store).state is JobState.SUCCEEDED
    store.close()


def test_a_ledger_that_filled_its_disk_opens_again(tiny_disk: Path) -> None:
    store = SqliteStore(tiny_disk / "ledger.sqlite")
    (tiny_disk / "filler").write_bytes(bytes(200_000))
    acknowledged: list[str] = []
    with pytest.raises(StoreFullError):
        fill(store, acknowledged)
    store.close()
    (tiny_disk / "filler").unlink()
    again = SqliteStore(tiny_disk / "ledger.sqlite")
    assert len(again.jobs(limit=10_000)[0]) == len(acknowledged)
    again.close()


def test_two_connections_see_each_others_changes(tmp_path: Path) -> None:
    front, other = (SqliteStore(tmp_path / "ledger.sqlite") for _ in range(2))
    job = running_job(front, units=2)
    finish(other, lease(other))
    finish(front, lease(front))
    assert other.job(job.id).state is JobState.PUBLISHING
    front.close()
    other.close()
