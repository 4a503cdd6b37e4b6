"""The server's workers in real processes: how work is shared, stopped, watched, and its memory given back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from support.live_server import LiveServer, jobs_pb2

pytestmark = pytest.mark.slow

SLOW = {"num_steps": 50, "strength": 1.0}


@pytest.fixture
def server(tmp_path: Path, photos: Path) -> LiveServer:
    return LiveServer(tmp_path / "root", photos.parent, lease_images=1, hang_seconds=20, jobs_per_worker=2)


def finished_units(server: LiveServer, job: str) -> list[float]:
    """When each unit of a final job was finished."""
    return [
        event.time.ToNanoseconds() / 1e9 for event in server.watch(job) if event.WhichOneof("detail") == "unit_finish"
    ]


def test_two_jobs_take_turns(server: LiveServer, photos: Path) -> None:
    with server:
        dataset = server.register(photos)
        first, second = (server.submit(dataset, num_steps=4) for _ in range(2))
        assert server.finished(first).state == server.finished(second).state == jobs_pb2.JOB_STATE_SUCCEEDED
        assert finished_units(server, second)[0] < finished_units(server, first)[-1]


def test_the_job_of_higher_priority_goes_first(server: LiveServer, photos: Path) -> None:
    with server:
        dataset = server.register(photos)
        low, high = server.submit(dataset, num_steps=4), server.submit(dataset, num_steps=4, priority=5)
        server.finished(low)
        assert finished_units(server, high)[-1] < finished_units(server, low)[-1]


def test_a_unit_that_takes_long_gives_way_at_a_checkpoint(tmp_path: Path, photos: Path) -> None:
    with LiveServer(tmp_path / "root", photos.parent, turn_seconds=1) as server:
        dataset = server.register(photos)
        settings = {"num_steps": 400, "checkpoint_every": 2, "image_side": 16, "golden_head": False}
        long = server.submit(dataset, method="sfm", **settings)
        for event in server.watch(long):
            if event.WhichOneof("detail") == "unit_checkpoint":
                break
        assert server.finished(server.submit(dataset, method="random")).state == jobs_pb2.JOB_STATE_SUCCEEDED
        assert server.job(long).state == jobs_pb2.JOB_STATE_RUNNING
        server.cancel(long)
        assert server.finished(long).state == jobs_pb2.JOB_STATE_CANCELLED


def test_a_cancelled_job_stops_at_a_step_and_the_worker_takes_other_work(tmp_path: Path, photos: Path) -> None:
    with LiveServer(tmp_path / "root", photos.parent) as server:
        dataset = server.register(photos)
        job = server.submit(dataset, ipc=8, **SLOW)
        for event in server.watch(job):
            if event.progress.stage == "denoise":
                break
        (worker,) = server.workers()
        server.cancel(job)
        assert server.finished(job).state == jobs_pb2.JOB_STATE_CANCELLED
        assert server.job(job).finished_units == 0
        assert server.finished(server.submit(dataset, num_steps=4)).state == jobs_pb2.JOB_STATE_SUCCEEDED
        assert worker.is_running()


def test_a_worker_that_hangs_is_killed_and_its_units_are_made_by_another(
    tmp_path: Path,
    photos: Path,
) -> None:
    with LiveServer(tmp_path / "root", photos.parent, lease_images=1, hang_seconds=15) as server:
        job = server.submit(server.register(photos), num_steps=4)
        server.begun(job)
        (worker,) = server.workers()
        os.kill(worker.pid, signal.SIGSTOP)
        found = server.finished(job)
        assert found.state == jobs_pb2.JOB_STATE_SUCCEEDED
        assert not worker.is_running()
        retries = [event.unit_retry.reason for event in server.watch(job) if event.WhichOneof("detail") == "unit_retry"]
        assert len(retries) == 1
        assert "no step" in retries[0]


def test_a_unit_whose_workers_always_die_fails_its_job_and_says_so(tmp_path: Path, photos: Path) -> None:
    with LiveServer(tmp_path / "root", photos.parent, max_attempts=2) as server:
        job = server.submit(server.register(photos), ipc=8, **SLOW)
        number = 0
        for event in server.watch(job):
            if event.progress.stage == "encode" and server.workers():
                number += 1
                server.workers()[0].kill()
        found = server.job(job)
        assert found.state == jobs_pb2.JOB_STATE_FAILED
        assert found.failure.reason == "WORKER_FAULT"
        assert number >= 2


def test_memory_is_given_back_by_a_new_process_after_some_jobs(server: LiveServer, photos: Path) -> None:
    with server:
        dataset = server.register(photos)
        (worker,) = server.workers()
        for _ in range(2):  # jobs_per_worker
            assert server.finished(server.submit(dataset, num_steps=4)).state == jobs_pb2.JOB_STATE_SUCCEEDED
        worker.wait(60)
        server.event("worker_ready", 2)


def test_the_front_has_neither_torch_nor_a_runtime_and_stays_small(
    server: LiveServer,
    photos: Path,
) -> None:
    with server:
        dataset = server.register(photos)
        server.finished(server.submit(dataset, num_steps=4))
        assert server.process is not None
        front = psutil.Process(server.process.pid)
        loaded = {Path(region.path).name for region in front.memory_maps() if region.path.endswith(".so")}
        assert not [name for name in loaded if "torch" in name or "onnxruntime" in name or "sklearn" in name]
        assert front.memory_info().rss < 120e6


def test_the_server_is_put_together_without_heavy_imports() -> None:
    heavy = ["torch", "onnxruntime", "sklearn", "scipy", "openvino", "tensorrt", "diffusers", "onnx"]
    code = f"import sys, limbeck_server.app; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
