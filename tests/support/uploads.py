"""Pictures in folders and archives, the dataset service over a real ledger, and a client that sends files to it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from PIL import Image

from limbeck_server.datasets.checking import Checker
from limbeck_server.datasets.folders import DatasetFolders
from limbeck_server.datasets.limits import DatasetLimits
from limbeck_server.datasets.receiving import Uploads
from limbeck_server.rpc import datasets_pb2, datasets_pb2_grpc
from limbeck_server.services.datasets import Datasets
from limbeck_server.side.runner import SideProcesses
from limbeck_server.trust.paths import AllowedRoots
from support.serving import Backing, serving

CHUNK_NBYTES = 4096
NO_RESERVE = DatasetLimits(reserve_nbytes=0)
SETTLED = (datasets_pb2.DATASET_STATE_READY, datasets_pb2.DATASET_STATE_FAILED)


def picture(number: int = 0, *, side: int = 8) -> bytes:
    """A PNG file of noise."""
    pixels = np.random.default_rng(number).integers(0, 255, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pictures(*classes: str, per_class: int = 2, side: int = 8) -> dict[str, bytes]:
    """Files of an image folder, by their path."""
    names = [f"{name}/{number}.png" for name in classes for number in range(per_class)]
    return {name: picture(number, side=side) for number, name in enumerate(names)}


def huge_picture(width: int, height: int) -> bytes:
    """A PNG file that says it has that many pixels, and has none."""

    def block(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", zlib.compress(b"")) + block(b"IEND", b"")


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """The folder, with these files in it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip archive; the names are taken as they are."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return archive.getvalue()


def tarred(files: Mapping[str, bytes], *, links: Mapping[str, str] | None = None, mode: str = "w:gz") -> bytes:
    """A tar archive, with symbolic links by name and target before the files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=mode) as packed:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            packed.addfile(link)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


@dataclass(frozen=True)
class Sender:
    """A client of the dataset service."""

    stub: datasets_pb2_grpc.DatasetServiceStub

    async def start(
        self, content: bytes, file_name: str = "photos.zip", *, request_id: str = "", sha256: str = "", nbytes: int = 0
    ) -> datasets_pb2.Dataset:
        """Begin an upload of `content`, or of what is said of it."""
        request = datasets_pb2.StartUploadRequest(
            file_name=file_name,
            nbytes=nbytes or len(content),
            sha256=sha256 or hashlib.sha256(content).hexdigest(),
            request_id=request_id,
        )
        return (await self.stub.StartUpload(request)).dataset

    async def send(self, name: str, chunks: Sequence[datasets_pb2.UploadChunk]) -> datasets_pb2.Dataset:
        """Send these chunks of an upload."""
        return (await self.stub.UploadDataset(iter(messages(name, chunks)))).dataset

    async def send_when_free(self, name: str, chunks: Sequence[datasets_pb2.UploadChunk]) -> datasets_pb2.Dataset:
        """Send these chunks as soon as the server has noticed that the stream before is gone."""
        while True:
            try:
                return await self.send(name, chunks)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.ABORTED:
                    raise
            await asyncio.sleep(0.02)

    async def upload(self, content: bytes, file_name: str = "photos.zip") -> datasets_pb2.Dataset:
        """Upload a file and wait until it was looked through."""
        begun = await self.start(content, file_name)
        await self.send(begun.name, chunks_of(content))
        return await self.settled(begun.name)

    async def register(self, path: object, request_id: str = "") -> datasets_pb2.Dataset:
        """Register a path, and do not wait."""
        request = datasets_pb2.RegisterDatasetRequest(path=str(path), request_id=request_id)
        return (await self.stub.RegisterDataset(request)).dataset

    async def get(self, name: str) -> datasets_pb2.Dataset:
        """The dataset as it is now."""
        return (await self.stub.GetDataset(datasets_pb2.GetDatasetRequest(name=name))).dataset

    async def delete(self, name: str) -> None:
        """Forget a dataset."""
        await self.stub.DeleteDataset(datasets_pb2.DeleteDatasetRequest(name=name))

    async def settled(self, name: str) -> datasets_pb2.Dataset:
        """The dataset, once it was looked through."""
        while (dataset := await self.get(name)).state not in SETTLED:
            await asyncio.sleep(0.02)
        return dataset

    async def received(self, name: str, nbytes: int) -> None:
        """Wait until the ledger has that much of an upload."""
        while (await self.get(name)).received_nbytes < nbytes:
            await asyncio.sleep(0.02)

    async def stream(self, name: str, chunks: Sequence[datasets_pb2.UploadChunk]) -> grpc.aio.StreamUnaryCall:
        """A stream that has sent these chunks and is neither ended nor closed."""
        call = self.stub.UploadDataset()
        for message in messages(name, chunks):
            await call.write(message)
        return call


@dataclass(frozen=True)
class Desk(Sender):
    """A client of the dataset service, and what is behind it."""

    backing: Backing
    folders: DatasetFolders
    checker: Checker

    async def emptied(self) -> None:
        """Wait until the server keeps nothing of datasets."""
        while self.files():
            await asyncio.sleep(0.02)

    async def written(self, name: str, nbytes: int) -> None:
        """Wait until that much of an upload is in its file, whether or not the ledger knows."""
        part = self.folders.part(name.split("/")[1])
        while not part.exists() or part.stat().st_size < nbytes:
            await asyncio.sleep(0.02)

    async def path_of(self, name: str) -> Path:
        """Where it lies on the server's disk."""
        return Path((await self.backing.do(lambda store: store.dataset(name.split("/")[1]))).path)

    def files(self) -> list[Path]:
        """Everything that the server keeps of datasets."""
        return sorted(path for folder in (self.folders.uploads, self.folders.datasets) for path in folder.iterdir())


@asynccontextmanager
async def dataset_desk(
    folder: Path,
    *,
    roots: Sequence[Path] = (),
    limits: DatasetLimits = NO_RESERVE,
    memory_nbytes: int | None = None,
) -> AsyncIterator[Desk]:
    """The dataset service of a server whose folder is `folder`."""
    folder.mkdir(exist_ok=True)
    made: list[tuple[DatasetFolders, Checker, Uploads]] = []

    def register(backing: Backing) -> None:
        folders = DatasetFolders(folder)
        side = SideProcesses(num_at_once=2, memory_nbytes=memory_nbytes, nice=0)
        checker = Checker(backing.store, folders, side, roots, limits)
        uploads = Uploads(backing.store, folders, checker, limits)
        service = Datasets(
            backing.store,
            folders=folders,
            roots=AllowedRoots(roots),
            checker=checker,
            uploads=uploads,
            limits=limits,
        )
        datasets_pb2_grpc.add_DatasetServiceServicer_to_server(service, backing.server)
        made.append((folders, checker, uploads))

    async with serving(folder, register) as backing:
        [(folders, checker, uploads)] = made
        try:
            yield Desk(datasets_pb2_grpc.DatasetServiceStub(backing.channel), backing, folders, checker)
        finally:
            await backing.server.stop(None)
            await uploads.close()
            await checker.close()


def chunks_of(content: bytes, *, start: int = 0, size: int = CHUNK_NBYTES) -> list[datasets_pb2.UploadChunk]:
    """A file in pieces, from `start` on."""
    offsets = range(start, len(content), size)
    return [chunk(content[offset : offset + size], offset) for offset in offsets]


def chunk(data: bytes, offset: int) -> datasets_pb2.UploadChunk:
    """One piece."""
    return datasets_pb2.UploadChunk(offset=offset, data=data, crc32=zlib.crc32(data))


def messages(name: str, chunks: Sequence[datasets_pb2.UploadChunk]) -> list[datasets_pb2.UploadDatasetRequest]:
    """What a stream of an upload says."""
    start = datasets_pb2.UploadDatasetRequest(start=datasets_pb2.UploadStart(name=name))
    return [start, *(datasets_pb2.UploadDatasetRequest(chunk=one) for one in chunks)]
