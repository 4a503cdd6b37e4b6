"""The distilled set service: what jobs made, image by image and file by file."""

from __future__ import annotations

import asyncio
import logging
import shutil
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import grpc

from limbeck_server.rpc import sets_pb2, sets_pb2_grpc
from limbeck_server.services.access import shown_owner, visible_job, visible_set
from limbeck_server.services.archive import Part, archive_parts, chunks, file_parts, sha256_of, size_of
from limbeck_server.services.images import images_of_job, images_of_set
from limbeck_server.services.paging import page_after, page_size, token_refused
from limbeck_server.store.base import Store
from limbeck_server.store.blobs import Blobs
from limbeck_server.store.errors import NotFoundError
from limbeck_server.store.records import SetRecord
from limbeck_server.store.threaded import ThreadedStore
from limbeck_server.trust.identity import current
from limbeck_server.wire.names import is_set_name, job_id, set_id
from limbeck_server.wire.refusal import RequestError, Violation
from limbeck_server.wire.sets import artifact_message, set_message

logger = logging.getLogger(__name__)

_DIGESTS_KEPT = 1000


class DistilledSets(sets_pb2_grpc.DistilledSetServiceServicer):
    """`limbeck.v1.DistilledSetService`.

    Args:
        store: The ledger.
        blobs: Has the images of jobs.
    """

    def __init__(self, store: ThreadedStore, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs
        self._archive_digests: dict[str, str] = {}

    async def GetDistilledSet(
        self, request: sets_pb2.GetDistilledSetRequest, context: grpc.aio.ServicerContext
    ) -> sets_pb2.GetDistilledSetResponse:
        record = await self._set(set_id(request.name))
        return sets_pb2.GetDistilledSetResponse(distilled_set=set_message(record.summary()))

    async def ListDistilledSets(
        self, request: sets_pb2.ListDistilledSetsRequest, context: grpc.aio.ServicerContext
    ) -> sets_pb2.ListDistilledSetsResponse:
        size, owner = page_size(request.page_size), shown_owner(current())
        with token_refused():
            summaries, token = await self._store.run(
                lambda store: store.distilled_sets(owner=owner, limit=size, after=request.page_token)
            )
        return sets_pb2.ListDistilledSetsResponse(distilled_sets=map(set_message, summaries), next_page_token=token)

    async def ListArtifacts(
        self, request: sets_pb2.ListArtifactsRequest, context: grpc.aio.ServicerContext
    ) -> sets_pb2.ListArtifactsResponse:
        files = (await self._set(set_id(request.parent, "parent"))).files
        paths, token = page_after(sorted(files), page_size(request.page_size, default=100), request.page_token)
        artifacts = [artifact_message(path, *files[path]) for path in paths]
        return sets_pb2.ListArtifactsResponse(artifacts=artifacts, next_page_token=token)

    async def StreamImages(
        self, request: sets_pb2.StreamImagesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[sets_pb2.StreamImagesResponse]:
        async with aclosing(await self._images(request.name, request.after_number)) as images:
            async for image in images:
                yield sets_pb2.StreamImagesResponse(image=image)

    async def DownloadArtifact(
        self, request: sets_pb2.DownloadArtifactRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[sets_pb2.DownloadArtifactResponse]:
        record = await self._set(set_id(request.name))
        artifact, parts = await self._artifact(record, request.path)
        offset = request.offset
        if not 0 <= offset <= artifact.nbytes:
            raise RequestError(Violation("offset", f"the file has {artifact.nbytes} bytes, got {offset}"))
        message = sets_pb2.DownloadArtifactResponse(offset=offset, artifact=artifact)
        pieces = chunks(parts, offset)
        while piece := await asyncio.to_thread(next, pieces, b""):
            message.data, message.crc32 = piece, zlib.crc32(piece)
            yield message
            offset += len(piece)
            message = sets_pb2.DownloadArtifactResponse(offset=offset)
        if offset == request.offset:
            yield message

    async def DeleteDistilledSet(
        self, request: sets_pb2.DeleteDistilledSetRequest, context: grpc.aio.ServicerContext
    ) -> sets_pb2.DeleteDistilledSetResponse:
        distilled_set, caller = set_id(request.name), current()

        def delete(store: Store) -> SetRecord:
            record = visible_set(store, distilled_set, caller)
            store.delete_distilled_set(distilled_set)
            return record

        record = await self._store.run(delete)
        self._archive_digests.pop(distilled_set, None)
        await asyncio.to_thread(_remove, record)
        return sets_pb2.DeleteDistilledSetResponse()

    async def _set(self, distilled_set: str) -> SetRecord:
        caller = current()
        return await self._store.run(lambda store: visible_set(store, distilled_set, caller))

    async def _images(self, name: str, after: int) -> AsyncGenerator[sets_pb2.Image, None]:
        if is_set_name(name):
            return images_of_set(await self._set(set_id(name)), after)
        job, caller = job_id(name), current()
        await self._store.run(lambda store: visible_job(store, job, caller))
        return images_of_job(self._store, self._blobs, job, after)

    async def _artifact(self, record: SetRecord, path: str) -> tuple[sets_pb2.Artifact, list[Part]]:
        """What is downloaded, and where its bytes come from."""
        if path:
            if path not in record.files:
                raise NotFoundError(f"the set has no file {path[:200]!r}; ListArtifacts says which it has")
            return artifact_message(path, *record.files[path]), file_parts(record, path)
        parts = await asyncio.to_thread(archive_parts, record)
        return artifact_message("", await self._archive_digest(record, parts), size_of(parts)), parts

    async def _archive_digest(self, record: SetRecord, parts: list[Part]) -> str:
        """Computed once for each set, as long as the server runs: sets do not change."""
        digest = self._archive_digests.get(record.id)
        if digest is None:
            digest = await asyncio.to_thread(sha256_of, parts)
            if len(self._archive_digests) >= _DIGESTS_KEPT:
                self._archive_digests.pop(next(iter(self._archive_digests)))
            self._archive_digests[record.id] = digest
        return digest


def _remove(record: SetRecord) -> None:
    """The files of a set that the ledger has forgotten; what cannot be removed is left and logged."""
    try:
        shutil.rmtree(record.path)
    except OSError as error:
        logger.error("set_files_left set=%s path=%s error=%s", record.id, record.path, error)
