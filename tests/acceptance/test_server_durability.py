"""The server in real processes: what was acknowledged survives whatever is killed."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from support.cli import files_of, limbeck
from support.live_server import FINAL, LiveServer, jobs_pb2, kill_all

pytestmark = pytest.mark.slow

SETTINGS = {"num_steps": 4}


def server_for(tmp_path: Path, photos: Path, **settings: object) -> LiveServer:
    return LiveServer(tmp_path / "root", photos.parent, **settings)


def by_library(photos: Path, out: Path, *, ipc: int = 1) -> dict[str, bytes]:
    """The files that `limbeck distill` makes of the same job."""
    done = limbeck(
        "distill", "--data", photos, "--out", out, "--ipc", str(ipc), "--set", "num_steps=4", "--threads", "1"
    )
    assert done.code == 0, done.err
    return files_of(out)


def test_a_job_makes_the_same_files_as_the_command_line(tmp_path: Path, photos: Path) -> None:
    with server_for(tmp_path, photos) as server:
        job = server.submit(server.register(photos), **SETTINGS)
        assert server.finished(job).state == jobs_pb2.JOB_STATE_SUCCEEDED
        assert files_of(server.set_folder(job)) == by_library(photos, tmp_path / "library")


def test_a_job_interrupted_twenty_times_ends_byte_identical_to_one_that_never_was(tmp_path: Path, photos: Path) -> None:
    chance = random.Random(20261121)
    # one class at a time, and no limit on attempts: this test kills more often than any machine would
    with server_for(tmp_path, photos, lease_images=1, max_attempts=1000) as server:
        dataset = server.register(photos)
        jobs = [server.submit(dataset, **SETTINGS)]
        killed = {"front": 0, "worker": 0, "both": 0}
        while sum(killed.values()) < 20:
            time.sleep(chance.uniform(0.0, 1.2))
            if server.job(jobs[-1]).state in FINAL:  # a fast machine: go on with another
                jobs.append(server.submit(dataset, **SETTINGS))
            what = chance.choice([*killed])
            workers = server.workers()
            if what != "worker":
                server.kill()
            if what != "front":
                kill_all(workers)
            killed[what] += 1
            if what != "worker":
                server.start()
        assert min(killed.values()) > 0, killed
        expected = by_library(photos, tmp_path / "library")
        for job in jobs:
            found = server.finished(job)
            assert found.state == jobs_pb2.JOB_STATE_SUCCEEDED, found.failure
            places = sorted((image.label, image.position) for image in server.images(job))
            assert places == [(label, 0) for label in range(10)]
            assert files_of(server.set_folder(job)) == expected


def test_an_acknowledged_job_runs_although_the_server_is_killed_at_once(tmp_path: Path, photos: Path) -> None:
    with server_for(tmp_path, photos) as server:
        dataset = server.register(photos)
        job = server.submit(dataset, **SETTINGS)
        server.kill()
        server.start()
        assert server.finished(job).state == jobs_pb2.JOB_STATE_SUCCEEDED


def test_workers_do_not_outlive_a_front_that_is_killed(tmp_path: Path, photos: Path) -> None:
    with server_for(tmp_path, photos) as server:
        workers = server.workers()
        assert workers
        server.kill()
        for worker in workers:
            worker.wait(30)


def test_sigterm_ends_in_order_and_the_next_start_continues(tmp_path: Path, photos: Path) -> None:
    with server_for(tmp_path, photos, lease_images=1) as server:
        job = server.submit(server.register(photos), **SETTINGS)
        server.begun(job, num_units=2)
        assert server.terminate() == 0
        server.start()
        found = server.finished(job)
        assert found.state == jobs_pb2.JOB_STATE_SUCCEEDED
        assert len(server.images(job)) == 10
        events = [event.WhichOneof("detail") for event in server.watch(job)]
        assert "unit_retry" not in events, "an orderly end blames nobody"


def test_a_damaged_ledger_is_refused_and_left_as_it_is(tmp_path: Path, photos: Path) -> None:
    with server_for(tmp_path, photos) as server:
        server.register(photos)
        assert server.terminate() == 0
        ledger = server.root / "ledger.sqlite"
        content = bytearray(ledger.read_bytes())
        for position in range(100, len(content), 64):
            content[position] ^= 0xFF
        ledger.write_bytes(content)
        done = limbeck("serve", "--root", server.root, "--metrics-address", "", "--address", "127.0.0.1:0")
        assert done.code == 1
        assert "ledger.sqlite" in done.err
        assert "damaged" in done.err
        assert ledger.read_bytes() == bytes(content)


def test_a_second_server_on_the_same_root_is_refused(tmp_path: Path, photos: Path) -> None:
    with server_for(tmp_path, photos) as server:
        done = limbeck("serve", "--root", server.root, "--metrics-address", "", "--address", "127.0.0.1:0")
        assert done.code != 0
        assert server.process is not None
        assert str(server.process.pid) in done.err
