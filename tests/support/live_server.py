"""`limbeck serve` as a real process, and the processes that it starts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
from google.protobuf import struct_pb2

from limbeck_server.rpc import (
    datasets_pb2,
    datasets_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    sets_pb2,
    sets_pb2_grpc,
    specs_pb2,
)
from support.cli import COMMAND, ENVIRONMENT

FINAL = {jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_FAILED, jobs_pb2.JOB_STATE_CANCELLED}
PATIENCE = 240.0
DIGITS = Path(__file__).parents[2] / "examples" / "data" / "sign_digits" / "train"


class LiveServer:
    """A server on a root folder. Start it, kill it, start it again; `close` ends it.

    Args:
        root: Its folder.
        data_root: Below which datasets are registered.
        settings: Of its TOML file.
    """

    def __init__(self, root: Path, data_root: Path, **settings: Any) -> None:
        self.root = root
        self.address = ""
        self.lines: list[dict[str, Any]] = []
        self._config = root.with_name(f"{root.name}.toml")
        given = {"threads": 1, "address": "127.0.0.1:0", "metrics_address": "", **settings}
        self._config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items()))
        self._data_root = data_root
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> LiveServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, *, environment: Mapping[str, str] = ENVIRONMENT) -> None:
        """Start it, and wait until it serves and a worker is ready."""
        arguments = ["serve", "--root", self.root, "--config", self._config, "--data-root", self._data_root]
        self.lines = []
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, text=True, env=dict(environment)
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        self.address = self.event("server_ready")["address"]
        self.event("worker_ready")

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with suppress(json.JSONDecodeError):
                self.lines.append(json.loads(line))

    def event(self, name: str, number: int = 1) -> dict[str, Any]:
        """The log line of the number-th event of that name, waited for."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = [line for line in self.lines if line.get("event") == name]
            if len(found) >= number:
                return found[number - 1]
            assert self.process is not None
            assert self.process.poll() is None or self._reader.is_alive(), f"the server ended: {self.lines[-3:]}"
            time.sleep(0.02)
        raise AssertionError(f"no {name} in {PATIENCE} s: {self.lines[-5:]}")

    def workers(self) -> list[psutil.Process]:
        """The worker processes that live."""
        assert self.process is not None
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children()
            return [child for child in children if "limbeck_server.workers" in _command(child)]
        return []

    def kill(self) -> None:
        """kill -9 the front."""
        assert self.process is not None
        self.process.kill()
        self.wait()

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """The exit code."""
        assert self.process is not None
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def close(self) -> None:
        """End it however it is."""
        if self.process is not None and self.process.poll() is None:
            for worker in self.workers():
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
            self.kill()

    def channel(self) -> grpc.Channel:
        """A channel to it; close it."""
        return grpc.insecure_channel(self.address)

    # what a client does

    def register(self, path: Path) -> str:
        """The name of the dataset at `path`, ready."""
        with self.channel() as channel:
            datasets = datasets_pb2_grpc.DatasetServiceStub(channel)
            request = datasets_pb2.RegisterDatasetRequest(path=str(path), request_id=uuid.uuid4().hex)
            found = datasets.RegisterDataset(request, timeout=PATIENCE).dataset
            while found.state == datasets_pb2.DATASET_STATE_CHECKING:
                time.sleep(0.05)
                found = datasets.GetDataset(datasets_pb2.GetDatasetRequest(name=found.name)).dataset
            assert found.state == datasets_pb2.DATASET_STATE_READY, found
            return str(found.name)

    def submit(self, dataset: str, *, method: str = "d4m", ipc: int = 1, priority: int = 0, **settings: Any) -> str:
        """The name of a new job."""
        values = struct_pb2.Struct()
        values.update(settings)
        spec = specs_pb2.DistillSpec(method=method, ipc=ipc, dataset=dataset, settings=values)
        with self.channel() as channel:
            request = jobs_pb2.CreateJobRequest(distill=spec, request_id=uuid.uuid4().hex, priority=priority)
            return str(jobs_pb2_grpc.JobServiceStub(channel).CreateJob(request, timeout=PATIENCE).job.name)

    def job(self, name: str) -> jobs_pb2.Job:
        """The job as it is now."""
        with self.channel() as channel:
            request = jobs_pb2.GetJobRequest(name=name)
            return jobs_pb2_grpc.JobServiceStub(channel).GetJob(request, timeout=PATIENCE).job

    def cancel(self, name: str) -> None:
        """Ask for the job's end."""
        with self.channel() as channel:
            jobs_pb2_grpc.JobServiceStub(channel).CancelJob(jobs_pb2.CancelJobRequest(name=name), timeout=PATIENCE)

    def watch(self, name: str) -> Iterator[jobs_pb2.JobEvent]:
        """The job's events, to its end."""
        with self.channel() as channel:
            request = jobs_pb2.WatchJobRequest(name=name)
            for response in jobs_pb2_grpc.JobServiceStub(channel).WatchJob(request, timeout=PATIENCE):
                yield response.event

    def begun(self, name: str, *, num_units: int = 1) -> jobs_pb2.Job:
        """The job, once so many of its units are finished and others are not."""
        for _ in self.watch(name):
            if (found := self.job(name)).finished_units >= num_units:
                assert found.state == jobs_pb2.JOB_STATE_RUNNING, found
                return found
        raise AssertionError(f"the job ended first: {self.job(name)}")

    def finished(self, name: str) -> jobs_pb2.Job:
        """The job, once it is final."""
        for _ in self.watch(name):
            pass
        return self.job(name)

    def images(self, name: str) -> list[sets_pb2.Image]:
        """Every image of a final job, as streamed."""
        with self.channel() as channel:
            stub = sets_pb2_grpc.DistilledSetServiceStub(channel)
            responses = stub.StreamImages(sets_pb2.StreamImagesRequest(name=name), timeout=PATIENCE)
            return [response.image for response in responses]

    def set_folder(self, name: str) -> Path:
        """Where the job's distilled set lies."""
        return self.root / "sets" / self.job(name).distilled_set.rpartition("/")[2]


def some_photos(folder: Path) -> Path:
    """Eight real images of each of ten classes, copied into a new folder, which is returned."""
    for one in sorted(path for path in DIGITS.iterdir() if path.is_dir()):
        (folder / one.name).mkdir(parents=True)
        for image in sorted(one.iterdir())[:8]:
            shutil.copy(image, folder / one.name)
    return folder


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def kill_all(processes: list[psutil.Process]) -> None:
    """kill -9 each, if it lives."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
