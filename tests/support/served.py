"""A server in a process of its own, over a real ledger, whose worker finishes as many units as a test allows."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from limbeck.arrays import Images
from limbeck.data.distilled import DistilledWriter
from limbeck.data.naming import class_folders
from limbeck.data.unit import UnitLayout
from limbeck.pack import Pack
from limbeck_server.datasets.checking import Checker
from limbeck_server.datasets.folders import DatasetFolders
from limbeck_server.datasets.limits import DatasetLimits
from limbeck_server.datasets.receiving import Uploads
from limbeck_server.rpc import (
    datasets_pb2_grpc,
    jobs_pb2_grpc,
    packs_pb2_grpc,
    server_pb2_grpc,
    sets_pb2_grpc,
)
from limbeck_server.services.datasets import Datasets
from limbeck_server.services.jobs import Jobs
from limbeck_server.services.packs import Packs
from limbeck_server.services.server_info import Device, Limits, ServerInformation
from limbeck_server.services.sets import DistilledSets
from limbeck_server.side.runner import SideProcesses
from limbeck_server.store.base import Store
from limbeck_server.store.errors import StoreError
from limbeck_server.store.records import PREPARE, PUBLISH, Failure, FinishedUnit, SetRecord, StoredImage, UnitSpec
from limbeck_server.trust.paths import AllowedRoots
from support.serving import Backing, ready_dataset, rules, serving

NUM_CLASSES = 3
NAMES = [f"class {label}" for label in range(NUM_CLASSES)]
SIZE = 64


@dataclass(frozen=True)
class Served:
    """A server.

    Args:
        port: Where it listens.
        dataset: A dataset that jobs may name.
        folder: Has everything of it.
    """

    port: int
    dataset: str
    folder: Path

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    def allow(self, units: int) -> None:
        """Let the worker finish so many units in all; a negative number makes the next one fail its job."""
        temporary = self.folder / "allowed.new"
        temporary.write_text(str(units))
        temporary.rename(self.folder / "allowed")


@contextmanager
def served(folder: Path, *, allowed: int = 1000, port: int = 0) -> Iterator[Served]:
    """A server with a dataset; a job has `NUM_CLASSES` classes and as many images of each as it asks for.

    It is killed at the end; on the same folder, the next one goes on.
    """
    folder.mkdir(exist_ok=True)
    (folder / "allowed").write_text(str(allowed))
    with subprocess.Popen(
        [sys.executable, __file__, str(folder), str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        taken, dataset = process.stdout.readline().split()
        try:
            yield Served(int(taken), dataset, folder)
        finally:
            process.kill()


class Idle:
    """No progress between events, and no engine."""

    def latest(self, job: str) -> None:
        return None

    def loaded_on(self, pack: str, role: str) -> list[str]:
        return []


def add_services(backing: Backing) -> None:
    """All services whose work a test's worker can do."""
    idle: Any = Idle()
    add = backing.server
    jobs_pb2_grpc.add_JobServiceServicer_to_server(
        Jobs(backing.store, rules=rules(), progress=idle, wake=lambda: None), add
    )
    sets_pb2_grpc.add_DistilledSetServiceServicer_to_server(DistilledSets(backing.store, backing.blobs), add)
    packs_pb2_grpc.add_PackServiceServicer_to_server(Packs({"mini": Pack.open("mini").folder}, engines=idle), add)
    dataset_limits = DatasetLimits(reserve_nbytes=0)
    folders = DatasetFolders(backing.folder)
    checker = Checker(backing.store, folders, SideProcesses(num_at_once=1, nice=0), [], dataset_limits)
    datasets = Datasets(
        backing.store,
        folders=folders,
        roots=AllowedRoots([]),
        checker=checker,
        uploads=Uploads(backing.store, folders, checker, dataset_limits),
        limits=dataset_limits,
    )
    datasets_pb2_grpc.add_DatasetServiceServicer_to_server(datasets, add)
    limits = Limits(message_nbytes=2**20, upload_nbytes=2**30, chunk_nbytes=2**16, image_pixels=10**6)
    info = ServerInformation(limits, packs=["mini"], devices=lambda: [Device("cpu", "worker-0", True)])
    server_pb2_grpc.add_ServerServiceServicer_to_server(info, add)


def images_of(label: int, ipc: int) -> Images:
    """The images that a job makes of a class."""
    return np.random.default_rng(label).random((ipc, 3, SIZE, SIZE), dtype=np.float32)


def step(store: Store, *, backing: Backing, may_finish: bool, fails: bool) -> bool:
    """The next step of the one job that is under way; whether it was a unit that was finished."""
    lease = store.lease("worker", max_images=1)
    if lease is None:
        return False
    try:
        [unit] = lease.units
        ipc = lease.job.spec.get("ipc", 1)
        if unit.index == PREPARE:
            units = [UnitSpec(label, (label,), ipc) for label in range(NUM_CLASSES)]
            store.prepared(lease.token, {"class_names": NAMES}, units, num_images=ipc * NUM_CLASSES)
        elif unit.index == PUBLISH:
            folder = backing.folder / "sets" / lease.job.id
            store.published(lease.token, write_set(folder, lease.job.id, ipc), {"peak_nbytes": 1})
        elif may_finish and fails:
            store.fail(lease.token, Failure("ENGINE_ERROR", "the decoder gave no numbers"))
        elif may_finish:
            store.finish_unit(lease.token, FinishedUnit(unit.index, stored_images(backing, unit.index, ipc)))
            return True
        return False
    finally:
        with suppress(StoreError):
            store.free(lease.token)


def stored_images(backing: Backing, label: int, ipc: int) -> tuple[StoredImage, ...]:
    """The images of a class among the blobs."""
    encoded = UnitLayout(NAMES, class_folders(NAMES), ipc).encode(label, images_of(label, ipc), [label] * ipc)
    return tuple(
        StoredImage(label, position, backing.blobs.put(png), len(png), row)
        for position, (png, row) in enumerate(zip(encoded.files.values(), encoded.rows, strict=True))
    )


def write_set(folder: Path, job: str, ipc: int) -> SetRecord:
    """The set of a job, by the library's own writer."""
    folder.parent.mkdir(exist_ok=True)
    with DistilledWriter.start(folder, {}, class_names=NAMES, ipc=ipc, num_units=NUM_CLASSES) as writer:
        for label in range(NUM_CLASSES):
            writer.write_unit(label, images_of(label, ipc), [label] * ipc)
        writer.finish()
    files = {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return SetRecord(id=job[::-1], job=job, owner="", path=str(folder), files=files, created_at=1.0)


async def main(folder: Path, port: int) -> None:
    """Serve until nobody holds the standard input."""
    ports: list[int] = []
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    async with serving(
        folder, add_services, lambda backing: ports.append(backing.server.add_insecure_port(f"127.0.0.1:{port}"))
    ) as backing:
        await backing.do(lambda store: store.free_all())
        dataset = await backing.do(ready_dataset)
        sys.stdout.write(f"{ports[0]} datasets/{dataset.id}\n")
        sys.stdout.flush()
        done = 0
        while not ended.done():
            allowed = int((folder / "allowed").read_text())
            call = partial(step, backing=backing, may_finish=done < abs(allowed), fails=allowed < 0)
            done += await backing.do(call)
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
