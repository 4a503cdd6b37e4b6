"""Jobs of every kind, through a real server."""

from __future__ import annotations

import subprocess
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from google.protobuf.json_format import MessageToDict

from limbeck_server.rpc import plans_pb2, plans_pb2_grpc
from support.cli import files_of
from support.live_server import LiveServer, jobs_pb2, jobs_pb2_grpc, kill_all, specs_pb2

pytestmark = pytest.mark.slow


def test_a_set_is_made_planned_evaluated_and_made_again(tmp_path: Path, photos: Path) -> None:
    with LiveServer(tmp_path / "root", photos.parent) as server:
        dataset = server.register(photos)
        first = server.finished(server.submit(dataset, method="random", ipc=2))
        assert first.state == jobs_pb2.JOB_STATE_SUCCEEDED, first.failure
        with server.channel() as channel:
            spec = specs_pb2.DistillSpec(method="d4m", ipc=1, dataset=dataset, budget_nbytes=3 * 2**30)
            plan = (
                plans_pb2_grpc.PlanServiceStub(channel)
                .PlanJob(plans_pb2.PlanJobRequest(distill=spec), timeout=200)
                .plan
            )
            evaluate = specs_pb2.EvaluateSpec(
                distilled_sets=[first.distilled_set],
                train_dataset=dataset,
                test_dataset=dataset,
                protocol="probe",
                seeds=1,
            )
            request = jobs_pb2.CreateJobRequest(evaluate=evaluate, request_id=uuid.uuid4().hex)
            evaluation = jobs_pb2_grpc.JobServiceStub(channel).CreateJob(request, timeout=60).job.name
        assert 0 < plan.peak_nbytes < 3 * 2**30
        assert sum(plan.parts.values()) > 0
        found = server.finished(evaluation)
        assert found.state == jobs_pb2.JOB_STATE_SUCCEEDED, found.failure
        (unit,) = MessageToDict(found.result)["units"]
        accuracies = {row["trained_on"]: row["mean"] for row in unit["rows"] if row["kind"] == "accuracy"}
        assert len(accuracies) >= 3
        assert all(0 <= accuracy <= 1 for accuracy in accuracies.values())
        again = server.finished(server.submit(first.distilled_set, method="diver", ipc=2))
        assert again.state == jobs_pb2.JOB_STATE_SUCCEEDED, again.failure


def test_a_budgeted_job_says_what_was_planned_and_what_was_measured(tmp_path: Path, photos: Path) -> None:
    with LiveServer(tmp_path / "root", photos.parent, budget="2GiB") as server:
        found = server.finished(server.submit(server.register(photos), num_steps=4))
        assert found.state == jobs_pb2.JOB_STATE_SUCCEEDED, found.failure
        assert found.plan.budget_nbytes == 2 * 2**30
        assert 0 < found.plan.peak_nbytes <= 2 * 2**30
        assert 0 < MessageToDict(found.result)["peak_nbytes"] <= 2 * 2**30


def test_a_job_that_cannot_run_fails_with_what_would_work(tmp_path: Path, photos: Path) -> None:
    with LiveServer(tmp_path / "root", photos.parent) as server:
        found = server.finished(server.submit(server.register(photos), method="random", ipc=9))
        assert found.state == jobs_pb2.JOB_STATE_FAILED
        assert found.failure.reason == "DATA_ERROR"
        assert "8 images" in found.failure.message


def test_a_dataset_that_changes_while_its_job_runs_fails_the_job(tmp_path: Path, photos: Path) -> None:
    with LiveServer(tmp_path / "root", photos.parent, lease_images=1) as server:
        job = server.submit(server.register(photos), num_steps=4)
        server.begun(job)
        (photos / "1").rename(photos / "99")
        kill_all(server.workers())
        found = server.finished(job)
        assert found.state == jobs_pb2.JOB_STATE_FAILED
        assert "not what it was" in found.failure.message


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A disk of 12 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_job_waits_for_space_on_a_full_disk_and_goes_on(small_disk: Path, tmp_path: Path, photos: Path) -> None:
    with LiveServer(small_disk / "root", photos.parent, lease_images=1) as server:
        dataset = server.register(photos)
        expected = server.finished(server.submit(dataset, num_steps=4))
        filler = small_disk / "filler"
        job = server.submit(dataset, num_steps=4)
        server.begun(job)
        with filler.open("wb", buffering=0) as stream, suppress(OSError):
            while True:
                stream.write(bytes(2**16))
        server.event("condition_entered")
        assert server.job(job).state == jobs_pb2.JOB_STATE_RUNNING
        filler.unlink()
        found = server.finished(job)
        assert found.state == jobs_pb2.JOB_STATE_SUCCEEDED, found.failure
        sets = small_disk / "root" / "sets"
        assert files_of(sets / found.distilled_set[-32:]) == files_of(sets / expected.distilled_set[-32:])
