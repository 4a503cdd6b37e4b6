"""Fetching a distilled set: whole or not at all, going on where a broken connection or an ended process left it.

.OUT.download/set.tar.part    the bytes so far
.OUT.download/set/            unpacked, every file held against its digest; then moved to OUT
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tarfile
import zlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from limbeck.durable import disk_errors_explained, sync_folder, write_synced
from limbeck.errors import OutputError
from limbeck_server.client.calls import Calls
from limbeck_server.client.errors import ServerError, data_loss
from limbeck_server.client.uploads import OnProgress
from limbeck_server.rpc import sets_pb2, sets_pb2_grpc

_PAGE = 1000


async def download(calls: Calls, name: str, out: Path, *, on_progress: OnProgress) -> Path:
    """Fetch the set `name` into the folder `out`, which must not exist; what an earlier call left is continued.

    Raises:
        OutputError: `out` exists, another process fetches it, or the disk refuses.
        ServerError: The server refused, was away for too long, or sent other bytes than it said.
    """
    out = out.absolute()
    _refuse_existing(out)
    staging = out.with_name(f".{out.name}.download")
    with disk_errors_explained(out.parent, needed_nbytes=0):
        staging.mkdir(parents=True, exist_ok=True)
        lock = FileLock(staging / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(f"another process fetches {out}: it holds {staging / 'lock'}") from error
        try:
            files = {path: sha256 async for path, sha256 in _files(calls, name)}
            await _Archive(calls, name, staging, on_progress).fetch()
            await asyncio.to_thread(_unpack, staging, files)
            _refuse_existing(out)
            (staging / "set").rename(out)
            sync_folder(out.parent)
        finally:
            lock.release()
    # The set is whole and in its place; what cannot be removed is only untidy.
    shutil.rmtree(staging, ignore_errors=True)
    return out


async def _files(calls: Calls, name: str) -> AsyncIterator[tuple[str, str]]:
    request = sets_pb2.ListArtifactsRequest(parent=name, page_size=_PAGE)
    stub = calls.stub(sets_pb2_grpc.DistilledSetServiceStub)
    async for page in calls.pages(stub.ListArtifacts, request):
        for artifact in page.artifacts:
            yield _safe(artifact.path), artifact.sha256


class _Archive:
    """The set as one tar file, which grows."""

    def __init__(self, calls: Calls, name: str, staging: Path, on_progress: OnProgress) -> None:
        self._calls = calls
        self._name = name
        self._path = staging / "set.tar.part"
        self._mark = staging / "source"
        self._on_progress = on_progress
        self._total = 0
        self._sha256 = ""

    async def fetch(self) -> None:
        """Fetch what is missing, and compare the whole with its digest; a file that is not right is removed."""
        self._begin()
        with self._path.open("ab") as stream:
            request = sets_pb2.DownloadArtifactRequest(name=self._name, offset=stream.tell())
            method = self._calls.stub(sets_pb2_grpc.DistilledSetServiceStub).DownloadArtifact
            async for message in self._calls.stream(method, request):
                if message.HasField("artifact"):
                    self._total, self._sha256 = message.artifact.nbytes, message.artifact.sha256
                if message.offset != request.offset or zlib.crc32(message.data) != message.crc32:
                    raise data_loss(f"bytes of {self._name} came changed at {message.offset:,}; fetch it again")
                stream.write(message.data)
                request.offset += len(message.data)
                self._on_progress("downloading", request.offset, self._total)
        digest = await asyncio.to_thread(_sha256, self._path)
        if digest != self._sha256:
            self._path.unlink()
            raise data_loss(f"{self._name} came as {digest}, its digest is {self._sha256}; fetch it again")

    def _begin(self) -> None:
        """Keep what is there of this set; remove what is there of another."""
        mark = self._name.encode()
        if not (self._mark.is_file() and self._mark.read_bytes() == mark):
            self._path.unlink(missing_ok=True)
            write_synced(self._mark, mark)


def _unpack(staging: Path, files: Mapping[str, str]) -> None:
    """Unpack the archive; every file is one of `files` with its digest, none is missing."""
    folder = staging / "set"
    shutil.rmtree(folder, ignore_errors=True)
    missing = dict(files)
    with tarfile.open(staging / "set.tar.part") as archive:
        for entry in archive:
            if entry.isdir():
                continue
            source = archive.extractfile(entry) if entry.isfile() else None
            content = source.read() if source is not None else b""
            digest = missing.pop(entry.name, None)
            if digest is None or hashlib.sha256(content).hexdigest() != digest:
                raise data_loss(f"{entry.name!r} is none of the set's files, or not as its digest says")
            target = folder / entry.name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_synced(target, content)
    if missing:
        raise data_loss(f"{len(missing)} of {len(files)} files did not come, such as {next(iter(missing))!r}")
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync_folder(place)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _safe(path: str) -> str:
    """A path that stays in its folder: the server is not trusted with others."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise _refused(path)
    return path


def _refused(path: str) -> ServerError:
    return data_loss(f"the server names a file {path!r}, which would not lie in the set's folder")


def _refuse_existing(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise OutputError(f"{out} exists, and limbeck never writes over anything; give another place, or move it away")
