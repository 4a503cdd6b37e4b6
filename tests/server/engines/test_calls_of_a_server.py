"""Direct calls of a server that runs for real, in its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck.arrays import Array  # noqa: E402
from limbeck.backends.onnxruntime import OnnxRuntime  # noqa: E402
from limbeck.models import open_models  # noqa: E402
from limbeck.pack import Pack  # noqa: E402
from limbeck_server.rpc import (  # noqa: E402
    inference_pb2,
    inference_pb2_grpc,
    jobs_pb2,
    packs_pb2,
    packs_pb2_grpc,
    tensors_pb2,
)
from support import triton  # noqa: E402
from support.call_workers import BUCKET, SECONDS  # noqa: E402
from support.live_server import LiveServer, some_photos  # noqa: E402

pytestmark = pytest.mark.slow


def some_latents(rng: np.random.Generator, rows: int) -> Array:
    return rng.standard_normal((rows, 16, 8, 8), np.float32)


def decode(server: LiveServer, latents: Array) -> Array:
    tensor = tensors_pb2.Tensor(dtype=tensors_pb2.DATA_TYPE_FLOAT32, shape=latents.shape, data=latents.tobytes())
    request = inference_pb2.DecodeRequest(pack="packs/mini", latents=tensor)
    with server.channel() as channel:
        found = inference_pb2_grpc.InferenceServiceStub(channel).Decode(request, timeout=SECONDS).images
    return np.frombuffer(found.data, np.float32).reshape(found.shape)


def decoded(latents: Array) -> Array:
    with open_models(Pack.open("mini"), OnnxRuntime(threads=1), needs={"codec"}, bucket=BUCKET) as models:
        return models.codec.decode(latents)


def loaded_by(server: LiveServer) -> str:
    """The worker that has the decoder loaded, to which all calls of it go."""
    request = packs_pb2.GetEngineRequest(name="packs/mini/engines/decoder")
    with server.channel() as channel:
        (worker,) = packs_pb2_grpc.PackServiceStub(channel).GetEngine(request, timeout=SECONDS).engine.workers
    return str(worker)


def pid_of(server: LiveServer, worker: str) -> int:
    started = [server.event("worker_ready", number) for number in (1, 2)]
    return next(int(event["pid"]) for event in started if event["worker"] == worker)


def test_a_call_is_answered_while_its_worker_works_on_a_job(tmp_path: Path, rng: np.random.Generator) -> None:
    latents = some_latents(rng, 3)
    photos = some_photos(tmp_path / "data" / "photos")
    with LiveServer(tmp_path / "root", photos.parent, bucket=BUCKET) as server:
        job = server.submit(server.register(photos), ipc=8, num_steps=50, strength=1.0)
        next(event for event in server.watch(job) if event.progress.stage == "denoise")
        found = decode(server, latents)
        assert server.job(job).state == jobs_pb2.JOB_STATE_RUNNING
        server.cancel(job)
        server.finished(job)
    assert np.array_equal(found, decoded(latents))


def test_calls_outlive_the_worker_that_they_were_given_to(tmp_path: Path, rng: np.random.Generator) -> None:
    several = [some_latents(rng, 3) for _ in range(12)]
    with LiveServer(tmp_path / "root", tmp_path, devices=["cpu", "cpu"], bucket=BUCKET) as server:
        server.event("worker_ready", 2)
        decode(server, several[0])
        first_answers = threading.Semaphore(0)

        def call(latents: Array) -> Array:
            found = decode(server, latents)
            first_answers.release()
            return found

        with ThreadPoolExecutor(6) as pool:
            answers = [pool.submit(call, latents) for latents in several]
            for _ in range(2):
                assert first_answers.acquire(timeout=SECONDS)
            os.kill(pid_of(server, loaded_by(server)), signal.SIGKILL)
            found = [answer.result(SECONDS) for answer in answers]
    assert all(np.array_equal(mine, decoded(latents)) for mine, latents in zip(found, several, strict=True))


@pytest.mark.skipif(find_spec("tritonclient") is None, reason="Triton's client is not installed")
def test_tritonclient_runs_an_engine_of_a_server(tmp_path: Path, rng: np.random.Generator) -> None:
    latents = some_latents(rng, 2)
    given, made = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(given, latents=latents)
    with LiveServer(tmp_path / "root", tmp_path, bucket=BUCKET) as server:
        done = subprocess.run(
            [sys.executable, triton.__file__, server.address, "mini:decode", str(given), str(made)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert {model["name"] for model in json.loads(done.stdout)["before"]} > {"mini.decoder", "mini-text:denoise"}
    with np.load(made) as arrays:
        assert np.array_equal(arrays["images"], decoded(latents))
