"""The server under load: what it costs, what it stands, and whether its memory stays.

    python -m benchmarks.server --work DIR [--only overhead watchers …] [--soak-minutes 30]

overhead    one job through the server beside the same run in the library, interleaved; ratio of the medians
watchers    200 watchers of one job: every one gets every event once; the front's memory
submits     50 submits at once, each three times under one request id: 50 jobs
transfers   1 GB up and 1 GB down while the server is killed again and again: the same bytes
slow        readers that hardly read, beside one that does: the front's memory, the fast one's speed
soak        one small job after another for so many minutes: the memory of front and worker, first minutes and last

No peer has a jobs API, so there is nothing to run beside but the library itself.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.harness.machine import ROOT, provenance
from benchmarks.harness.options import write
from benchmarks.harness.serving import Served, settled

from limbeck_server.client import AsyncClient
from limbeck_server.store.records import SetRecord
from limbeck_server.store.sqlite import SqliteStore

PHOTOS = ROOT / "examples/data/sign_digits/train"
JOB = {"method": "d4m", "ipc": 10}
SMALL = {"method": "random", "ipc": 1}
WATCHERS, SUBMITS, READERS, KILLS = 200, 50, 20, 5
TRANSFER_NBYTES = 10**9

_IN_LIBRARY = """
import sys, time
from pathlib import Path
from limbeck_server.jobs import DistillJob
from limbeck_server.runner.local import run_distill
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.methods import make_method
method = make_method({method!r}, ipc={ipc}, settings={{}})
job = DistillJob(method=method, pack="mini", data={data!r}, out=Path({out!r}), backend=OnnxRuntime(threads={threads}))
began = time.perf_counter()
run_distill(job)
print(time.perf_counter() - began)
"""


async def overhead(work: Path, options: argparse.Namespace) -> Mapping[str, Any]:
    """One job through a server that runs, and the same in a new process of the library, by turns."""
    found: dict[str, list[float]] = {"library": [], "server": []}
    async with _served(work / "overhead", threads=options.threads) as (_, client):
        dataset = await _photos(client)
        for number in range(options.rounds):
            out = work / f"library-{number}"
            shutil.rmtree(out, ignore_errors=True)
            code = _IN_LIBRARY.format(data=str(PHOTOS), out=str(out), threads=options.threads, **JOB)
            done = await asyncio.to_thread(
                subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=True
            )
            found["library"].append(float(done.stdout))
            began = time.perf_counter()
            await client.wait(await client.submit(dataset=dataset, **JOB))
            found["server"].append(time.perf_counter() - began)
            print(
                f"round {number}: library {found['library'][-1]:.1f} s, server {found['server'][-1]:.1f} s", flush=True
            )
    ratio = statistics.median(found["server"]) / statistics.median(found["library"])
    return {"job": JOB, "seconds": found, "overhead": ratio - 1}


async def watchers(work: Path, options: argparse.Namespace) -> Mapping[str, Any]:
    """Many watchers, each on a connection of its own to its own client."""
    async with _served(work / "watchers", threads=options.threads) as (served, client):
        dataset = await _photos(client)
        settled()
        before = served.resident_nbytes()[0]
        job = await client.submit(dataset=dataset, **JOB)
        clients = [AsyncClient(served.address, timeout_seconds=300) for _ in range(WATCHERS)]
        peak = _Peak(lambda: served.resident_nbytes()[0])
        async with peak:
            seen = await asyncio.gather(*(_sequences(one, job.name) for one in clients))
        await asyncio.gather(*(one.close() for one in clients))
        settled()
        ended = await client.job(job.name)
        whole = [*range(1, ended.sequence + 1)]
        return {
            "watchers": WATCHERS,
            "events": ended.sequence,
            "watchers_with_every_event_once": sum(one == whole for one in seen),
            "front_nbytes": {"before": before, "peak": peak.value, "after": served.resident_nbytes()[0]},
        }


async def submits(work: Path, options: argparse.Namespace) -> Mapping[str, Any]:
    """Submits at once, each repeated under its request id."""
    async with _served(work / "submits", threads=options.threads) as (_, client):
        dataset = await _photos(client)
        seconds: list[float] = []

        async def submit(request: int) -> str:
            began = time.perf_counter()
            job = await client.submit(dataset=dataset, request_id=f"load-{request}", **SMALL)
            seconds.append(time.perf_counter() - began)
            return job.name

        names = await asyncio.gather(*(submit(number % SUBMITS) for number in range(3 * SUBMITS)))
        seconds.sort()
        began = time.perf_counter()
        await asyncio.gather(*(client.wait(name) for name in set(names)))
        return {
            "submits": len(names),
            "jobs": len(set(names)),
            "seconds": {"median": statistics.median(seconds), "worst": seconds[-1]},
            "all_done_seconds": time.perf_counter() - began,
        }


async def transfers(work: Path, options: argparse.Namespace) -> Mapping[str, Any]:
    """A large file up, and a large set down, while the server is killed and started."""
    size = TRANSFER_NBYTES if not options.quick else TRANSFER_NBYTES // 20
    source = work / "transfer.npz"
    digest = await asyncio.to_thread(_random_file, source, size)
    root = work / "transfers"
    shutil.rmtree(root, ignore_errors=True)
    _published(root, source, digest)
    found: dict[str, Any] = {"nbytes": source.stat().st_size, "kills": KILLS}
    async with _served(root, keep=True, threads=options.threads) as (served, client):
        for kills in (0, KILLS):
            began = time.perf_counter()
            killing = asyncio.create_task(_kill_again(served, kills))
            uploaded = await client.upload_dataset(source)
            found[f"up_{kills}_kills"] = {
                "seconds": time.perf_counter() - began,
                "whole": _digest(root / "datasets" / uploaded.name.rpartition("/")[2]) == digest,
            }
            await killing
            await client.delete(uploaded)  # the same bytes would not be sent again
            out = work / f"down-{kills}"
            shutil.rmtree(out, ignore_errors=True)
            began = time.perf_counter()
            killing = asyncio.create_task(_kill_again(served, kills))
            await client.download(f"distilledSets/{_SET}", out)
            found[f"down_{kills}_kills"] = {
                "seconds": time.perf_counter() - began,
                "whole": _digest(out) == digest,
            }
            await killing
            shutil.rmtree(out)
        found["front_nbytes"] = served.resident_nbytes()[0]
    return found


async def slow(work: Path, options: argparse.Namespace) -> Mapping[str, Any]:
    """Readers that take an image and sleep, and one that reads: what they cost the front, and the one that reads."""
    async with _served(work / "slow", threads=options.threads) as (served, client):
        dataset = await _photos(client)
        job = await client.submit(dataset=dataset, method="random", ipc=100)
        await client.wait(job)
        settled()
        before = served.resident_nbytes()[0]
        alone = await _seconds_to_read(client, job.name)
        clients = [AsyncClient(served.address, timeout_seconds=300) for _ in range(READERS)]
        tasks = [asyncio.create_task(_read_slowly(one, job.name)) for one in clients]
        settled()
        beside = await _seconds_to_read(client, job.name)
        peak = served.resident_nbytes()[0]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(one.close() for one in clients))
        settled()
        return {
            "slow_readers": READERS,
            "seconds_alone": alone,
            "seconds_beside": beside,
            "front_nbytes": {"before": before, "with_readers": peak, "after": served.resident_nbytes()[0]},
        }


async def soak(work: Path, options: argparse.Namespace) -> Mapping[str, Any]:
    """Small jobs without a pause; every fifth makes images with networks."""
    minutes = options.soak_minutes
    # one worker for the whole time: replaced processes would hide what one of them loses
    async with _served(work / "soak", threads=options.threads, jobs_per_worker=10**6) as (served, client):
        dataset = await _photos(client)
        samples: list[tuple[float, int, int]] = []
        began, jobs = time.monotonic(), 0
        while (now := (time.monotonic() - began) / 60) < minutes:
            spec = {"method": "minimax", "ipc": 1, "settings": {"num_steps": 4}} if jobs % 5 == 0 else SMALL
            job = await client.wait(await client.submit(dataset=dataset, **spec))
            async for _ in client.images(job):
                pass
            jobs += 1
            samples.append((now, *served.resident_nbytes()))
        fifth = max(len(samples) // 5, 1)
        early, late = samples[fifth : 2 * fifth] or samples, samples[-fifth:]
        return {
            "minutes": minutes,
            "jobs": jobs,
            "front_nbytes": {"second_fifth": _median(early, 1), "last_fifth": _median(late, 1)},
            "worker_nbytes": {"second_fifth": _median(early, 2), "last_fifth": _median(late, 2)},
            "samples": [[round(minute, 2), front, worker] for minute, front, worker in samples[:: max(fifth // 10, 1)]],
        }


STAGES: Mapping[str, Callable[[Path, argparse.Namespace], Awaitable[Mapping[str, Any]]]] = {
    "overhead": overhead,
    "watchers": watchers,
    "submits": submits,
    "transfers": transfers,
    "slow": slow,
    "soak": soak,
}
_SET = "0" * 32


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stages, print each, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder with 4 GB of space")
    parser.add_argument("--out", type=Path, help="default benchmarks/results/server-DATE.json")
    parser.add_argument("--only", nargs="+", choices=[*STAGES], default=[*STAGES])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--soak-minutes", type=float, default=30)
    parser.add_argument("--quick", action="store_true", help="a twentieth of a gigabyte, one round, one minute")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.soak_minutes = 1, 1
    options.work.mkdir(parents=True, exist_ok=True)
    settings = {"threads": options.threads, "rounds": options.rounds}
    result: dict[str, Any] = {"format": 1, "claim": "server", **provenance(), "settings": settings, "stages": {}}
    for name in options.only:
        print(f"{name} …", flush=True)
        load = os.getloadavg()[0]
        result["stages"][name] = {**asyncio.run(STAGES[name](options.work, options)), "load_before": round(load, 2)}
        print({key: value for key, value in result["stages"][name].items() if key != "samples"}, flush=True)
        date = datetime.now(UTC).date().isoformat()
        write(options.out or ROOT / f"benchmarks/results/server-{date}.json", result)


@asynccontextmanager
async def _served(root: Path, *, keep: bool = False, **settings: Any) -> AsyncIterator[tuple[Served, AsyncClient]]:
    if not keep:
        shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    with Served(root, data_roots=[str(PHOTOS.parent)], log_format="json", **settings) as served:
        async with AsyncClient(served.address, timeout_seconds=120) as client:
            yield served, client


async def _photos(client: AsyncClient) -> str:
    dataset = await client.register_dataset(str(PHOTOS))
    while (found := await client.dataset(dataset)).state.value == "checking":
        await asyncio.sleep(0.2)
    return found.name


async def _sequences(client: AsyncClient, job: str) -> list[int]:
    return [event.sequence async for event in client.watch(job) if event.sequence]


async def _seconds_to_read(client: AsyncClient, job: str) -> float:
    began = time.perf_counter()
    async for _ in client.images(job):
        pass
    return time.perf_counter() - began


async def _read_slowly(client: AsyncClient, job: str) -> None:
    async for _ in client.images(job):
        await asyncio.sleep(5)


async def _kill_again(served: Served, kills: int) -> None:
    for _ in range(kills):
        await asyncio.sleep(1.5)
        served.kill()
        await asyncio.to_thread(served.start)


class _Peak:
    """The most of a figure while the block runs."""

    def __init__(self, measure: Callable[[], int]) -> None:
        self._measure = measure
        self.value = 0

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._look())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _look(self) -> None:
        while True:
            self.value = max(self.value, self._measure())
            await asyncio.sleep(0.5)


def _random_file(path: Path, size: int) -> str:
    """A dataset of random images in one file of that size, and its SHA-256."""
    side = 1024
    count = max(size // (3 * side**2), 2)
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(count) % 2)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _published(root: Path, source: Path, digest: str) -> None:
    """A ledger with a set of one large file."""
    folder = root / "sets" / _SET
    folder.mkdir(parents=True)
    os.link(source, folder / "large.bin")
    store = SqliteStore(root / "ledger.sqlite")
    dataset = {"dataset": f"datasets/{_SET}"}
    job, _ = store.create_job(owner="", request_id="large", kind="distill", spec=dataset)
    _finish(store, job.id, folder, digest, source.stat().st_size)
    store.close()


def _finish(store: SqliteStore, job: str, folder: Path, digest: str, size: int) -> None:
    lease = store.lease("benchmark", max_images=1)
    assert lease is not None
    store.prepared(lease.token, {}, [], num_images=0)
    store.free(lease.token)
    lease = store.lease("benchmark", max_images=1)
    assert lease is not None
    record = SetRecord(
        id=_SET, job=job, owner="", path=str(folder), files={"large.bin": (digest, size)}, created_at=time.time()
    )
    store.published(lease.token, record, {})
    store.free(lease.token)


def _digest(place: Path) -> str:
    """SHA-256 of the one large file below a folder."""
    file = max((path for path in place.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _median(samples: Sequence[tuple[float, int, int]], column: int) -> float:
    return statistics.median(sample[column] for sample in samples)


if __name__ == "__main__":
    main()
