"""Direct calls through the whole server against the bare engine, in one run.

    python -m benchmarks.server_calls --out benchmarks/results/server_calls-DATE.json

For each bucket, a server of its own process with one worker serves the mini pack; callers in this process send a row
at a time, each the next as soon as it has the last. Beside them stands the engine in this process, without a server: a
row at a time, and a full bucket at a time, which is what any server could reach. Contestants take turns, so that a
machine that is busy with other things is so for all of them. Figures are medians of the rounds. What the way there and
back takes is measured with an engine that takes next to nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from benchmarks.harness.machine import provenance

from limbeck.arrays import Array
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.models import Part, open_models
from limbeck.pack import Pack
from limbeck_server.app import Server
from limbeck_server.rpc import (
    grpc_service_pb2,
    grpc_service_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    tensors_pb2,
)
from limbeck_server.settings import ServerSettings

CALLERS = (1, 8, 32)
SHAPES: Mapping[str, tuple[int, ...]] = {"Decode": (16, 8, 8), "Features": (3, 224, 224)}


@dataclass
class Figure:
    """What one contestant reached, a round each.

    Args:
        rows_per_second: Rows answered.
        latency_ms: The median time of a call.
        batch: The mean number of rows that shared an engine's run.
    """

    rows_per_second: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)

    def add(self, seconds: float, latencies: Sequence[float], batches: Sequence[int], *, rows: int) -> None:
        """One round more."""
        self.rows_per_second.append(rows * len(latencies) / seconds)
        self.latency_ms.append(1000 * statistics.median(latencies))
        self.batch.append(statistics.mean(batches))

    def summary(self) -> dict[str, float]:
        """The median of each figure over the rounds."""
        return {name: round(statistics.median(found), 2) for name, found in vars(self).items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everybody in turns; print a table and write every figure as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each takes its turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine, with and without the server")
    parser.add_argument("--buckets", type=int, nargs="+", default=[1, 4, 16])
    options = parser.parse_args(arguments)
    contest = Contest(options.seconds, options.rounds, options.threads)
    found = []
    for bucket in options.buckets:
        with served(options.threads, bucket) as address:
            way_ms = asyncio.run(way_there_and_back(address))
            print(f"\nbucket {bucket}: {way_ms:.2f} ms for a call of an engine that takes next to nothing")
            for call in SHAPES:
                figures = contest.run(call, address, bucket)
                found.append({"call": call, "bucket": bucket, "way_ms": round(way_ms, 2), "figures": figures})
                print_table(found[-1])
    result = {"claim": "server_calls", **provenance(), "settings": asdict(contest), "calls": found}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


@dataclass(frozen=True)
class Contest:
    """How everybody is measured: how long each takes its turn, how many turns, and with how many threads."""

    seconds: float
    rounds: int
    threads: int

    def run(self, call: str, address: str, bucket: int) -> dict[str, dict[str, float]]:
        """What everybody reaches, by name."""
        row = np.random.default_rng(0).random((1, *SHAPES[call]), np.float32)
        figures: dict[str, Figure] = defaultdict(Figure)
        with ExitStack() as stack:
            bare = {rows: stack.enter_context(engine_alone(call, self.threads, rows)) for rows in (1, bucket)}
            for _ in range(self.rounds):
                for rows, act in bare.items():
                    latencies = timed(partial(act, np.repeat(row, rows, axis=0)), self.seconds)
                    figures[f"engine alone, {rows} a call"].add(sum(latencies), latencies, [rows], rows=rows)
                for callers in CALLERS:
                    begin = time.perf_counter()
                    answers = call_server(call, address, row, callers=callers, seconds=self.seconds)
                    latencies, batches = asyncio.run(answers)
                    spent = time.perf_counter() - begin
                    figures[f"server, {callers} callers"].add(spent, latencies, batches, rows=1)
        return {name: figure.summary() for name, figure in figures.items()}


@contextmanager
def engine_alone(call: str, threads: int, bucket: int) -> Iterator[Callable[[Array], Array]]:
    """The call in this process."""
    part: Part = "codec" if call == "Decode" else "backbone"
    with open_models(Pack.open("mini"), OnnxRuntime(threads=threads), needs={part}, bucket=bucket) as models:
        act = models.codec.decode if call == "Decode" else models.backbone.features
        act(np.zeros((bucket, *SHAPES[call]), np.float32))
        yield act


def timed(act: Callable[[], object], seconds: float) -> list[float]:
    """How long each of as many calls took as fit."""
    latencies: list[float] = []
    while sum(latencies) < seconds:
        begin = time.perf_counter()
        act()
        latencies.append(time.perf_counter() - begin)
    return latencies


async def call_server(
    call: str, address: str, row: Array, *, callers: int, seconds: float
) -> tuple[list[float], list[int]]:
    """The time of every call of so many callers, and the rows that shared its run."""
    latencies: list[float] = []
    batches: list[int] = []
    tensor = tensors_pb2.Tensor(dtype=tensors_pb2.DATA_TYPE_FLOAT32, shape=row.shape, data=row.tobytes())
    until = time.perf_counter() + seconds

    async def one(act: Callable[[], Awaitable[Any]]) -> None:
        while (begin := time.perf_counter()) < until:
            answered = await act()
            latencies.append(time.perf_counter() - begin)
            batches.append(answered.batch)

    async with grpc.aio.insecure_channel(address) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        decode = inference_pb2.DecodeRequest(pack="packs/mini", latents=tensor)
        features = inference_pb2.FeaturesRequest(pack="packs/mini", images=tensor)
        act = (lambda: stub.Decode(decode)) if call == "Decode" else (lambda: stub.Features(features))
        await asyncio.gather(*(one(act) for _ in range(callers)))
    return latencies, batches


async def way_there_and_back(address: str) -> float:
    """Milliseconds of a call of the mini pack's conditioner, one row, by a single caller; the median."""
    latencies = []
    inputs = [{"name": name, "datatype": "INT64", "shape": [1]} for name in ("timestep", "class_id")]
    request = grpc_service_pb2.ModelInferRequest(
        model_name="mini.conditioner", inputs=inputs, raw_input_contents=[bytes(8), bytes(8)]
    )
    async with grpc.aio.insecure_channel(address) as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(300):
            begin = time.perf_counter()
            await stub.ModelInfer(request)
            latencies.append(time.perf_counter() - begin)
    return 1000 * statistics.median(latencies)


@contextmanager
def served(threads: int, bucket: int) -> Iterator[str]:
    """The address of a server in a process of its own, when both engines are loaded."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as root:
        server = context.Process(target=serve, args=(Path(root), threads, bucket, theirs))
        server.start()
        theirs.close()
        address = ours.recv()
        try:
            asyncio.run(worker_ready(address))
            for call in SHAPES:
                row = np.zeros((1, *SHAPES[call]), np.float32)
                asyncio.run(call_server(call, address, row, callers=1, seconds=0.1))
            yield address
        finally:
            server.terminate()
            server.join()


async def worker_ready(address: str) -> None:
    """Return when the server has a worker."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        while not (await stub.ServerReady(grpc_service_pb2.ServerReadyRequest())).ready:
            await asyncio.sleep(0.1)


def serve(root: Path, threads: int, bucket: int, told: Connection) -> None:
    """A server until SIGTERM; its address is told when a worker is there."""

    async def run() -> None:
        server = Server(
            ServerSettings(root=root, address="127.0.0.1:0", metrics_address="", threads=threads, bucket=bucket)
        )
        serving = asyncio.create_task(server.run())
        ready = asyncio.create_task(server.ready.wait())
        await asyncio.wait([serving, ready], return_when=asyncio.FIRST_COMPLETED)
        if server.addresses is not None:
            told.send(server.addresses.grpc)
        await serving

    asyncio.run(run())


def print_table(measured: Mapping[str, Any]) -> None:
    """Rows a second, and their share of what the engine alone reaches with full buckets."""
    bucket, figures = measured["bucket"], measured["figures"]
    most = figures[f"engine alone, {bucket} a call"]["rows_per_second"]
    head = f"{measured['call']}, bucket {bucket}"
    print(f"\n{head:<32} {'rows/s':>9} {'of full':>8} {'latency':>10} {'batch':>6}")
    for name, found in figures.items():
        share = found["rows_per_second"] / most
        print(
            f"{name:<32} {found['rows_per_second']:9.1f} {share:8.2f} {found['latency_ms']:7.1f} ms "
            f"{found['batch']:6.1f}"
        )


if __name__ == "__main__":
    main()
