"""Looking through datasets where something stands in the way."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.datasets.limits import DatasetLimits
from limbeck_server.rpc import datasets_pb2
from support.processes import side_processes
from support.serving import run
from support.uploads import chunks_of, dataset_desk, pictures, zipped

SOON = DatasetLimits(reserve_nbytes=0, retry_seconds=0.2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("mount") or mount("size=3m", folder):
        pytest.skip("this process may not mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def mount(options: str, folder: Path) -> int:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_an_upload_that_cannot_be_unpacked_for_want_of_space_waits_for_it(small_disk: Path) -> None:
    files = {**pictures("cat"), "cat/noise.txt": os.urandom(300_000), "cat/zeros.txt": b"\0" * 5_000_000}
    content = zipped(files)

    async def test() -> None:
        async with dataset_desk(small_disk, limits=SOON) as desk:
            begun = await desk.start(content)
            await desk.send(begun.name, chunks_of(content))
            while not (dataset := await desk.get(begun.name)).failure.reason:
                await asyncio.sleep(0.02)
            assert (dataset.state, dataset.failure.reason) == (datasets_pb2.DATASET_STATE_CHECKING, "OUTPUT_ERROR")
            mount("remount,size=64m", small_disk)
            dataset = await desk.settled(begun.name)
            assert (dataset.state, dataset.failure.reason) == (datasets_pb2.DATASET_STATE_READY, "")

    run(test())


def test_a_check_that_takes_too_much_memory_fails_the_dataset(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    (tmp_path / "photos" / "cat").mkdir(parents=True)
    Image.fromarray(np.zeros((6000, 9000, 3), np.uint8)).save(tmp_path / "photos" / "cat" / "0.png")

    async def test() -> None:
        async with dataset_desk(tmp_path / "server", roots=[tmp_path], memory_nbytes=200 * 2**20) as desk:
            dataset = await desk.settled((await desk.register(tmp_path / "photos")).name)
            assert (dataset.state, dataset.failure.reason) == (datasets_pb2.DATASET_STATE_FAILED, "OUT_OF_MEMORY")

    run(test())


@pytest.mark.parametrize(("deaths", "state"), [(1, "DATASET_STATE_READY"), (3, "DATASET_STATE_FAILED")])
def test_a_check_whose_process_dies_is_tried_again_a_few_times(deaths: int, state: str, tmp_path: Path) -> None:
    content = zipped(pictures("cat", per_class=100, side=64))

    async def test() -> None:
        async with dataset_desk(tmp_path, limits=SOON) as desk:
            begun = await desk.start(content)
            await desk.send(begun.name, chunks_of(content))
            killed: set[int] = set()
            while len(killed) < deaths:
                for child in side_processes():
                    if child.pid not in killed:
                        child.kill()
                        killed.add(child.pid)
                await asyncio.sleep(0.01)
            dataset = await desk.settled(begun.name)
            assert datasets_pb2.DatasetState.Name(dataset.state) == state

    run(test())


def test_a_folder_that_is_gone_when_it_is_looked_through_fails(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()

    async def test() -> None:
        async with dataset_desk(tmp_path / "server", roots=[tmp_path]) as desk:
            begun = await desk.register(photos)
            photos.rmdir()
            dataset = await desk.settled(begun.name)
            assert (dataset.state, dataset.failure.reason) == (datasets_pb2.DATASET_STATE_FAILED, "DATA_ERROR")

    run(test())
