"""The dataset service: real images are registered, uploaded, looked up and forgotten."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import grpc

from limbeck.data.naming import is_text
from limbeck.errors import DataError
from limbeck_server.datasets import refusals
from limbeck_server.datasets.checking import Checker
from limbeck_server.datasets.folders import DatasetFolders
from limbeck_server.datasets.limits import DatasetLimits
from limbeck_server.datasets.listing import every_dataset
from limbeck_server.datasets.receiving import Chunk, Uploads
from limbeck_server.rpc import datasets_pb2, datasets_pb2_grpc
from limbeck_server.services.access import shown_owner, visible_dataset
from limbeck_server.services.paging import page_size, token_refused
from limbeck_server.side.file_names import FileName
from limbeck_server.store.base import Store
from limbeck_server.store.records import Dataset, DatasetState
from limbeck_server.store.threaded import ThreadedStore
from limbeck_server.trust.identity import Identity, current
from limbeck_server.trust.paths import AllowedRoots
from limbeck_server.wire.datasets import dataset_message
from limbeck_server.wire.names import dataset_id
from limbeck_server.wire.refusal import RequestError, Violation
from limbeck_server.wire.status import cut

Context: TypeAlias = grpc.aio.ServicerContext

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME_LENGTH = 200
_REQUEST_ID_LENGTH = 128
_LISTED_NBYTES = 1024
"""Of a failure in a list: a page of a thousand must fit into a message."""


class Datasets(datasets_pb2_grpc.DatasetServiceServicer):
    """`limbeck.v1.DatasetService`.

    Args:
        store: The ledger.
        folders: Where uploads lie.
        roots: The folders below which callers may register datasets.
        checker: Looks through datasets.
        uploads: Takes uploads in.
        limits: Of what is taken.
    """

    def __init__(
        self,
        store: ThreadedStore,
        *,
        folders: DatasetFolders,
        roots: AllowedRoots,
        checker: Checker,
        uploads: Uploads,
        limits: DatasetLimits,
    ) -> None:
        self._store = store
        self._folders = folders
        self._roots = roots
        self._checker = checker
        self._uploads = uploads
        self._limits = limits

    async def RegisterDataset(
        self, request: datasets_pb2.RegisterDatasetRequest, context: Context
    ) -> datasets_pb2.RegisterDatasetResponse:
        caller = current()
        path = await asyncio.to_thread(self._resolved, request.path)
        asked = _new_dataset(
            display_name=_display_name(request.display_name, path.name),
            path=str(path),
            uploaded=False,
            state=DatasetState.CHECKING,
        )
        _refuse_long(request.request_id)
        dataset, created = await self._store.run(
            lambda store: store.create_dataset(owner=caller.name, request_id=request.request_id, dataset=asked)
        )
        if created:
            self._checker.start(dataset)
        return datasets_pb2.RegisterDatasetResponse(dataset=dataset_message(dataset))

    async def StartUpload(
        self, request: datasets_pb2.StartUploadRequest, context: Context
    ) -> datasets_pb2.StartUploadResponse:
        caller, asked = current(), self._asked_upload(request)
        dataset = await self._store.run(lambda store: self._create_upload(store, asked, request.request_id, caller))
        return datasets_pb2.StartUploadResponse(dataset=dataset_message(dataset))

    async def UploadDataset(
        self, requests: AsyncIterator[datasets_pb2.UploadDatasetRequest], context: Context
    ) -> datasets_pb2.UploadDatasetResponse:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("message") != "start":
            raise RequestError(Violation("start", "the first message must say which upload goes on"))
        dataset = await self._dataset(dataset_id(first.start.name, "start.name"))
        grown = await self._uploads.receive(dataset.id, self._chunks(requests))
        return datasets_pb2.UploadDatasetResponse(dataset=dataset_message(grown))

    async def GetDataset(
        self, request: datasets_pb2.GetDatasetRequest, context: Context
    ) -> datasets_pb2.GetDatasetResponse:
        dataset = await self._dataset(dataset_id(request.name))
        return datasets_pb2.GetDatasetResponse(dataset=dataset_message(dataset))

    async def ListDatasets(
        self, request: datasets_pb2.ListDatasetsRequest, context: Context
    ) -> datasets_pb2.ListDatasetsResponse:
        size, owner = page_size(request.page_size), shown_owner(current())
        with token_refused():
            datasets, token = await self._store.run(
                lambda store: store.datasets(owner=owner, limit=size, after=request.page_token)
            )
        listed = [dataset_message(_shortened(dataset)) for dataset in datasets]
        return datasets_pb2.ListDatasetsResponse(datasets=listed, next_page_token=token)

    async def DeleteDataset(
        self, request: datasets_pb2.DeleteDatasetRequest, context: Context
    ) -> datasets_pb2.DeleteDatasetResponse:
        id, caller = dataset_id(request.name), current()

        def delete(store: Store) -> Dataset:
            dataset = visible_dataset(store, id, caller)
            store.delete_dataset(id)
            return dataset

        dataset = await self._store.run(delete)
        await self._checker.cancel(id)
        if dataset.uploaded:
            await asyncio.to_thread(self._folders.remove, id)
        return datasets_pb2.DeleteDatasetResponse()

    async def _dataset(self, dataset: str) -> Dataset:
        caller = current()
        return await self._store.run(lambda store: visible_dataset(store, dataset, caller))

    def _resolved(self, text: str) -> Path:
        try:
            path = self._roots.resolve(text)
        except DataError as error:
            raise RequestError(Violation("path", str(error))) from error
        if not is_text(str(path)):
            raise RequestError(Violation("path", f"{text!r} leads to a name that is not UTF-8; rename it"))
        return path

    def _asked_upload(self, request: datasets_pb2.StartUploadRequest) -> Dataset:
        violations = []
        if not 1 <= request.nbytes <= self._limits.upload_nbytes:
            bounds = f"it must be from 1 to {self._limits.upload_nbytes:,} bytes"
            violations.append(Violation("nbytes", f"{bounds}, got {request.nbytes:,}"))
        if not _SHA256.fullmatch(request.sha256.lower()):
            violations.append(Violation("sha256", f"it must be 64 hexadecimal digits, got {request.sha256[:80]!r}"))
        try:
            name = FileName.parse(request.file_name)
        except DataError as error:
            raise RequestError(*violations, Violation("file_name", str(error))) from error
        if violations:
            raise RequestError(*violations)
        _refuse_long(request.request_id)
        dataset = _new_dataset(
            display_name=_display_name(request.display_name, name.text),
            path="",
            uploaded=True,
            state=DatasetState.UPLOADING,
        )
        path = str(self._folders.home(dataset.id) / name.text)
        return replace(dataset, path=path, nbytes=request.nbytes, digest=request.sha256.lower())

    def _create_upload(self, store: Store, asked: Dataset, request_id: str, caller: Identity) -> Dataset:
        dataset, created = store.create_dataset(
            owner=caller.name, request_id=request_id, dataset=asked, max_nbytes=caller.quotas.max_dataset_nbytes
        )
        if created:
            try:
                self._refuse_if_full(store, dataset)
            except BaseException:
                store.delete_dataset(dataset.id)
                raise
        return dataset

    def _refuse_if_full(self, store: Store, asked: Dataset) -> None:
        """Refuse an upload that could not be finished: what other uploads still need is taken already."""
        uploading = (one for one in every_dataset(store) if one.state is DatasetState.UPLOADING)
        missing = sum(one.nbytes - one.received_nbytes for one in uploading)
        unpacked = asked.nbytes if FileName.parse(asked.path).is_archive else 0
        needed = missing + unpacked + self._limits.reserve_nbytes
        free = shutil.disk_usage(self._folders.uploads).free
        if free < needed:
            raise refusals.no_space(
                f"the server's disk has {free:,} bytes free, and needs {needed:,} for this upload", 0
            )

    async def _chunks(self, requests: AsyncIterator[datasets_pb2.UploadDatasetRequest]) -> AsyncIterator[Chunk]:
        async for request in requests:
            if request.WhichOneof("message") != "chunk":
                raise RequestError(Violation("chunk", "after the first message, each must be a chunk"))
            chunk = request.chunk
            if len(chunk.data) > self._limits.chunk_nbytes:
                found = f"it has {len(chunk.data):,} bytes, at most {self._limits.chunk_nbytes:,} are taken"
                raise RequestError(Violation("chunk.data", found))
            yield Chunk(chunk.offset, chunk.data, chunk.crc32)


def _new_dataset(*, display_name: str, path: str, uploaded: bool, state: DatasetState) -> Dataset:
    return Dataset(
        id=uuid4().hex,
        owner="",  # the ledger writes whose it is
        display_name=display_name,
        path=path,
        uploaded=uploaded,
        state=state,
        created_at=time.time(),
    )


def _display_name(asked: str, default: str) -> str:
    if len(asked) > _NAME_LENGTH or not asked.isprintable():
        raise RequestError(Violation("display_name", f"it must be at most {_NAME_LENGTH} printable characters"))
    return asked or default


def _refuse_long(request_id: str) -> None:
    if len(request_id) > _REQUEST_ID_LENGTH:
        raise RequestError(Violation("request_id", f"it must be at most {_REQUEST_ID_LENGTH} characters"))


def _shortened(dataset: Dataset) -> Dataset:
    if dataset.failure is None:
        return dataset
    return replace(dataset, failure=replace(dataset.failure, message=cut(dataset.failure.message, _LISTED_NBYTES)))
