"""Services behind a real grpc.aio server on a loopback port, over a real ledger, for tests of the public API."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
from PIL import Image

from limbeck.data.distilled import DistilledWriter
from limbeck.errors import ConfigError
from limbeck.pack import shipped_packs
from limbeck_server.services.interceptor import ErrorInterceptor
from limbeck_server.spec import Rules
from limbeck_server.store.base import Store
from limbeck_server.store.blobs import Blobs
from limbeck_server.store.records import (
    Dataset,
    DatasetState,
    Failure,
    FinishedUnit,
    Job,
    SetRecord,
    StoredImage,
    UnitSpec,
)
from limbeck_server.store.sqlite import SqliteStore
from limbeck_server.store.threaded import ThreadedStore
from limbeck_server.trust.handlers import around
from limbeck_server.trust.identity import ANYBODY, Identity, act_as
from limbeck_server.wire.errors import RemoteError, remote_error

T = TypeVar("T")

ID = "0123456789abcdef0123456789abcdef"
LIMIT_SECONDS = 60


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine; one that hangs fails."""
    return asyncio.run(asyncio.wait_for(test, LIMIT_SECONDS))


@dataclass
class Caller(grpc.aio.ServerInterceptor):
    """Lets every call be `identity`'s, which a test may change between calls."""

    identity: Identity = ANYBODY

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        @asynccontextmanager
        async def enter(context: Any) -> AsyncIterator[None]:
            act_as(self.identity)
            yield

        handler = await continuation(details)
        return handler and around(handler, enter)


@dataclass(frozen=True)
class Backing:
    """What services stand on, and the channel to them."""

    folder: Path
    store: ThreadedStore
    blobs: Blobs
    server: grpc.aio.Server
    caller: Caller
    address: str
    channel: grpc.aio.Channel

    async def do(self, call: Callable[[Store], T]) -> T:
        """A call of the ledger."""
        return await self.store.run(call)


Register = Callable[[Backing], None]
"""Adds a service to `backing.server`."""


@asynccontextmanager
async def serving(folder: Path, *registers: Register) -> AsyncIterator[Backing]:
    """A server with these services, and a ledger and blobs below `folder`."""
    caller = Caller()
    server = grpc.aio.server(interceptors=(caller, ErrorInterceptor(folder)))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    store = ThreadedStore(SqliteStore(folder / "ledger.sqlite"))
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            backing = Backing(folder, store, Blobs(folder / "blobs"), server, caller, address, channel)
            for register in registers:
                register(backing)
            await server.start()
            yield backing
    finally:
        await server.stop(None)
        await store.close()


def rules() -> Rules:
    """Of a server that has the shipped packs and lets no job read files."""

    def place(path: str) -> Path:
        raise ConfigError(f"{path} is not below an allowed folder")

    return Rules(packs=shipped_packs(), backends=("onnxruntime",), place=place)


async def refused(call: Awaitable[Any]) -> RemoteError:
    """What a call that must be refused was refused with."""
    try:
        await call
    except grpc.RpcError as error:
        return remote_error(error)
    raise AssertionError("the call was not refused")


async def collected(stream: Any) -> list[Any]:
    """All messages of a stream."""
    return [message async for message in stream]


# What a worker would do, on the ledger and the blobs themselves.


def ready_dataset(store: Store, *, owner: str = "", state: DatasetState = DatasetState.READY) -> Dataset:
    """A dataset that jobs can name."""
    dataset = Dataset(
        id=hashlib.sha256(f"{owner}{store.datasets()}".encode()).hexdigest()[:32],
        owner=owner,
        display_name="digits",
        path="digits",
        uploaded=False,
        state=state,
        created_at=0.0,
    )
    return store.create_dataset(owner=owner, request_id="", dataset=dataset)[0]


def make_job(store: Store, *, owner: str = "", number: int = 0) -> Job:
    """A job that waits for a worker."""
    spec = {"method": "random", "dataset": f"datasets/{ID}", "pack": "mini", "seed": number}
    return store.create_job(owner=owner, request_id="", kind="distill", spec=spec)[0]


def prepare(store: Store, num_units: int, ipc: int) -> Job:
    """Prepare the job whose turn it is, with a class a unit."""
    lease = store.lease("worker", max_images=1)
    assert lease is not None
    units = [UnitSpec(index, (index,), ipc) for index in range(num_units)]
    store.prepared(
        lease.token, {"class_names": [f"class {i}" for i in range(num_units)]}, units, num_images=ipc * num_units
    )
    store.free(lease.token)
    return store.job(lease.job.id)


def finish_next_unit(store: Store, blobs: Blobs, *, ipc: int) -> None:
    """Finish one unit of the job whose turn it is: `ipc` images of a class."""
    lease = store.lease("worker", max_images=1)
    assert lease is not None
    [unit] = lease.units
    images = tuple(stored_image(blobs, unit.index, position) for position in range(ipc))
    store.finish_unit(lease.token, FinishedUnit(unit.index, images))
    store.free(lease.token)


def stored_image(blobs: Blobs, label: int, position: int) -> StoredImage:
    """An image among the blobs that no other is like."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (label, position, 7)).save(file, "PNG")
    digest = blobs.put(file.getvalue())
    row = {"file_name": f"{label}/{position:04d}.png", "label": label, "class_name": f"class {label}", "sha256": digest}
    return StoredImage(label, position, digest, len(file.getvalue()), row)


def publish(store: Store, folder: Path, *, num_classes: int, ipc: int) -> SetRecord:
    """Publish the job whose turn it is, as a set that the library's own writer wrote into `folder`."""
    lease = store.lease("worker", max_images=1)
    assert lease is not None
    write_set(folder, num_classes=num_classes, ipc=ipc)
    files = {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    record = SetRecord(
        id=hashlib.sha256(lease.job.id.encode()).hexdigest()[:32],
        job=lease.job.id,
        owner=lease.job.owner,
        path=str(folder),
        files=files,
        created_at=1.0,
    )
    store.published(lease.token, record, {"peak_nbytes": 1})
    store.free(lease.token)
    return record


def write_set(folder: Path, *, num_classes: int, ipc: int) -> None:
    """A distilled set of images of one gray each."""
    names = [f"class {label}" for label in range(num_classes)]
    with DistilledWriter.start(folder, {}, class_names=names, ipc=ipc, num_units=num_classes) as writer:
        for label in range(num_classes):
            grays = np.linspace(0, 1, ipc * num_classes, dtype=np.float32)[label * ipc : (label + 1) * ipc]
            images = np.broadcast_to(grays[:, None, None, None], (ipc, 3, 8, 8))
            writer.write_unit(label, images, [label] * ipc)
        writer.finish()


def finished_set(store: Store, blobs: Blobs, folder: Path, *, num_classes: int = 2, ipc: int = 2) -> SetRecord:
    """A job from its beginning to its published set."""
    make_job(store)
    prepare(store, num_classes, ipc)
    for _ in range(num_classes):
        finish_next_unit(store, blobs, ipc=ipc)
    return publish(store, folder, num_classes=num_classes, ipc=ipc)


def fail_next(store: Store, failure: Failure) -> Job:
    """Fail the job whose turn it is."""
    lease = store.lease("worker", max_images=1)
    assert lease is not None
    return store.fail(lease.token, failure)


def fields_of(error: RemoteError) -> Sequence[str]:
    """The fields that a refusal names."""
    return [one.field for one in error.refusal.violations]
