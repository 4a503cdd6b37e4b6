"""The job and the set service, each behind a server of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from limbeck_server.rpc import jobs_pb2_grpc, sets_pb2_grpc
from limbeck_server.services.jobs import Jobs
from limbeck_server.services.sets import DistilledSets
from limbeck_server.store.blobs import Blobs
from limbeck_server.store.records import SetRecord
from support.serving import Backing, finished_set, rules, serving


class Steps:
    """Progress that a test sets."""

    def __init__(self) -> None:
        self.now: dict[str, Mapping[str, Any]] = {}

    def latest(self, job: str) -> Mapping[str, Any] | None:
        return self.now.get(job)


@asynccontextmanager
async def jobs(
    folder: Path, steps: Steps | None = None, woken: list[None] | None = None
) -> AsyncIterator[tuple[Any, Backing]]:
    """A stub of the job service; `woken` grows when the scheduler would be woken."""

    def register(backing: Backing) -> None:
        wakes = [] if woken is None else woken
        service = Jobs(backing.store, rules=rules(), progress=steps or Steps(), wake=lambda: wakes.append(None))
        jobs_pb2_grpc.add_JobServiceServicer_to_server(service, backing.server)

    async with serving(folder, register) as backing:
        yield jobs_pb2_grpc.JobServiceStub(backing.channel), backing


@asynccontextmanager
async def sets(folder: Path, blobs: Blobs | None = None) -> AsyncIterator[tuple[Any, Backing]]:
    """A stub of the set service."""

    def register(backing: Backing) -> None:
        service = DistilledSets(backing.store, blobs or backing.blobs)
        sets_pb2_grpc.add_DistilledSetServiceServicer_to_server(service, backing.server)

    async with serving(folder, register) as backing:
        yield sets_pb2_grpc.DistilledSetServiceStub(backing.channel), backing


async def a_set(backing: Backing, name: str = "set") -> SetRecord:
    """A published set of two classes with two images each, with its job."""
    return await backing.do(lambda store: finished_set(store, backing.blobs, backing.folder / name))
