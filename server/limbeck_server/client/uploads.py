"""Sending a dataset: piece by piece, going on where a broken connection left it."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import grpc

from limbeck.errors import DataError
from limbeck_server.client.archive import write_zip
from limbeck_server.client.calls import Calls
from limbeck_server.client.sets import Dataset, dataset_from
from limbeck_server.rpc import datasets_pb2, datasets_pb2_grpc
from limbeck_server.store.records import DatasetState

OnProgress = Callable[[str, int, int], None]
"""Told what goes on, how many bytes of it are done, and how many there are."""

_CHUNK_NBYTES = 2**20
_USABLE = (DatasetState.UPLOADING, DatasetState.CHECKING, DatasetState.READY)


@dataclass(frozen=True)
class _File:
    path: Path
    name: str
    nbytes: int
    sha256: str


async def upload(
    calls: Calls,
    path: Path,
    *,
    existing: AsyncIterator[Dataset],
    display_name: str,
    chunk_nbytes: int | None,
    on_progress: OnProgress,
) -> Dataset:
    """Bring a file or a folder to the server; it may not have looked through it yet.

    Args:
        calls: To the server.
        path: A folder is packed first.
        existing: The datasets that are there. If one of them has the same bytes, it is taken, or completed.
        display_name: What the dataset is called.
        chunk_nbytes: The most that the server takes in one piece.
        on_progress: Told about packing, hashing and sending.

    Raises:
        DataError: It cannot be read, or changes meanwhile.
        ServerError: The server refused it, or was away for too long.
    """
    async with _as_file(path) as file:
        dataset = await _found(existing, file) or await _started(calls, file, display_name)
        patience = calls.patience()
        chunk_nbytes = min(chunk_nbytes or _CHUNK_NBYTES, _CHUNK_NBYTES)
        while dataset.state is DatasetState.UPLOADING:
            before = dataset.received_nbytes
            try:
                dataset = await _send(calls, file, dataset, chunk_nbytes, on_progress)
            except grpc.aio.AioRpcError as error:
                await patience.wait(calls.failed(error))
                dataset = await _state(calls, dataset.name)
            if dataset.received_nbytes > before:
                patience.renew()
    return dataset


async def ready(calls: Calls, dataset: Dataset) -> Dataset:
    """Wait until the server has looked through a dataset.

    Raises:
        DataError: It found that the dataset cannot be used.
    """
    delay = 0.05
    while dataset.state is DatasetState.CHECKING:
        await asyncio.sleep(delay)
        delay = min(2 * delay, 1.0)
        dataset = await _state(calls, dataset.name)
    if dataset.state is DatasetState.FAILED:
        why = dataset.failure.message if dataset.failure else "it does not say why"
        raise DataError(f"the server cannot use {dataset.name} ({dataset.display_name}): {why}")
    return dataset


@asynccontextmanager
async def _as_file(path: Path) -> AsyncIterator[_File]:
    if path.is_dir():
        with tempfile.TemporaryDirectory(prefix="limbeck-upload-") as folder:
            packed = Path(folder) / f"{path.resolve().name or 'dataset'}.zip"
            await asyncio.to_thread(write_zip, path, packed)
            yield await asyncio.to_thread(_described, packed)
    else:
        yield await asyncio.to_thread(_described, path)


def _described(path: Path) -> _File:
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return _File(path, path.name, stream.tell(), digest)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


async def _found(existing: AsyncIterator[Dataset], file: _File) -> Dataset | None:
    async for dataset in existing:
        if dataset.uploaded and dataset.sha256 == file.sha256 and dataset.state in _USABLE:
            return dataset
    return None


async def _started(calls: Calls, file: _File, display_name: str) -> Dataset:
    request = datasets_pb2.StartUploadRequest(
        file_name=file.name,
        display_name=display_name,
        nbytes=file.nbytes,
        sha256=file.sha256,
        request_id=uuid4().hex,
    )
    answer = await calls.unary(calls.stub(datasets_pb2_grpc.DatasetServiceStub).StartUpload, request)
    return dataset_from(answer.dataset)


async def _state(calls: Calls, name: str) -> Dataset:
    request = datasets_pb2.GetDatasetRequest(name=name)
    answer = await calls.unary(calls.stub(datasets_pb2_grpc.DatasetServiceStub).GetDataset, request)
    return dataset_from(answer.dataset)


async def _send(calls: Calls, file: _File, dataset: Dataset, chunk_nbytes: int, on_progress: OnProgress) -> Dataset:
    try:
        stream = file.path.open("rb")
    except OSError as error:
        raise DataError(f"{file.path} cannot be read: {error.strerror or error}") from error
    with stream:
        method = calls.stub(datasets_pb2_grpc.DatasetServiceStub).UploadDataset
        call = method(metadata=calls.connection.metadata())
        try:
            await _write(call, stream, file, dataset, chunk_nbytes, on_progress)
            answer = await call
        finally:
            call.cancel()
    return dataset_from(answer.dataset)


async def _write(
    call: Any, stream: BinaryIO, file: _File, dataset: Dataset, chunk_nbytes: int, on_progress: OnProgress
) -> None:
    offset = dataset.received_nbytes
    stream.seek(offset)
    try:
        await call.write(datasets_pb2.UploadDatasetRequest(start=datasets_pb2.UploadStart(name=dataset.name)))
        while data := await asyncio.to_thread(stream.read, chunk_nbytes):
            chunk = datasets_pb2.UploadChunk(offset=offset, data=data, crc32=zlib.crc32(data))
            await call.write(datasets_pb2.UploadDatasetRequest(chunk=chunk))
            offset += len(data)
            on_progress("uploading", offset, file.nbytes)
        await call.done_writing()
    except asyncio.InvalidStateError:
        # The server has ended the call; its status, which the caller reads next, says why.
        return
    if offset < file.nbytes:
        raise DataError(f"{file.path} got shorter while it was uploaded; upload it again")
