"""Uploads to a server that is a process of its own, and that dies."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.datasets.part_file import PartFile  # noqa: E402
from limbeck_server.rpc import datasets_pb2, datasets_pb2_grpc  # noqa: E402
from support.dataset_server import dataset_server  # noqa: E402
from support.serving import refused, run  # noqa: E402
from support.uploads import CHUNK_NBYTES, Sender, chunks_of, pictures, zipped  # noqa: E402

CONTENT = zipped(pictures("cat", "dog", per_class=8, side=160))


def at_server(folder: Path, test: Callable[[Sender, subprocess.Popen[str]], Awaitable[None]], **settings: int) -> None:
    async def whole(process: subprocess.Popen[str], port: int) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await test(Sender(datasets_pb2_grpc.DatasetServiceStub(channel)), process)

    with dataset_server(folder, **settings) as (process, port):
        run(whole(process, port))


async def call_with(call: grpc.aio.StreamUnaryCall, chunks: list[datasets_pb2.UploadChunk]) -> None:
    for one in chunks:
        await call.write(datasets_pb2.UploadDatasetRequest(chunk=one))
    await call


def test_an_upload_goes_on_after_the_server_was_killed_and_is_the_same_file(tmp_path: Path) -> None:
    parts = chunks_of(CONTENT)

    for killed_after in (0.2, 0.5, 0.9):

        async def until_killed(sender: Sender, process: subprocess.Popen[str], share: float = killed_after) -> None:
            begun = await sender.start(CONTENT, request_id="once")
            rest = [one for one in parts if one.offset >= begun.received_nbytes]
            first, tail = rest[: int(len(parts) * share)], rest[int(len(parts) * share) :]
            call = await sender.stream(begun.name, first)
            await sender.received(begun.name, begun.received_nbytes + 64 * 1024)
            process.send_signal(signal.SIGKILL)
            await refused(call_with(call, tail))

        at_server(tmp_path, until_killed)
    [part] = (tmp_path / "uploads").iterdir()
    with part.open("ab") as torn:
        torn.write(b"what the disk had of a write that nobody acknowledged")

    async def to_the_end(sender: Sender, process: subprocess.Popen[str]) -> None:
        begun = await sender.start(CONTENT, request_id="once")
        assert 0 < begun.received_nbytes < len(CONTENT)
        await sender.send(begun.name, chunks_of(CONTENT, start=begun.received_nbytes))
        dataset = await sender.settled(begun.name)
        assert (dataset.state, dataset.num_images) == (datasets_pb2.DATASET_STATE_READY, 16)

    at_server(tmp_path, to_the_end)


def test_a_full_disk_ends_the_stream_and_keeps_what_came(tmp_path: Path) -> None:
    async def test(sender: Sender, process: subprocess.Popen[str]) -> None:
        begun = await sender.start(CONTENT)
        error = await refused(sender.send(begun.name, chunks_of(CONTENT)))
        assert (error.refusal.code, error.refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DISK_FULL")
        assert (await sender.get(begun.name)).received_nbytes == 512 * 1024
        assert error.refusal.retry_seconds is not None

    at_server(tmp_path, test, max_file_nbytes=512 * 1024)


def test_a_full_disk_that_has_room_again_takes_the_rest(tmp_path: Path) -> None:
    async def until_full(sender: Sender, process: subprocess.Popen[str]) -> None:
        begun = await sender.start(CONTENT, request_id="once")
        await refused(sender.send(begun.name, chunks_of(CONTENT)))

    async def the_rest(sender: Sender, process: subprocess.Popen[str]) -> None:
        begun = await sender.start(CONTENT, request_id="once")
        await sender.send(begun.name, chunks_of(CONTENT, start=begun.received_nbytes))
        assert (await sender.settled(begun.name)).state == datasets_pb2.DATASET_STATE_READY

    at_server(tmp_path, until_full, max_file_nbytes=512 * 1024)
    at_server(tmp_path, the_rest)


def test_a_tail_that_was_not_acknowledged_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"acknowledged, and not")
    part = PartFile(path, 12)
    part.open()
    part.write(b"!")
    assert (part.sync(), part.nbytes) == (13, 13)
    part.close()
    assert path.read_bytes() == b"acknowledged!"


def test_a_file_that_somebody_shortened_goes_on_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")
    part = PartFile(path, 12)
    part.open()
    assert part.nbytes == 5
    part.close()


def test_a_file_that_was_never_opened_has_nothing_to_wait_for(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "file", 12)
    assert part.sync() == 12
    part.close()
    assert os.listdir(tmp_path) == []


def test_the_chunks_of_these_tests_are_many() -> None:
    assert len(CONTENT) > 200 * CHUNK_NBYTES
