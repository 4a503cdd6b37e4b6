"""Reading a cache while processes fill it, one at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytest.importorskip("grpc", reason="the client extra is not installed")

from limbeck_server.client import Client, Connection, Job, MissingError, UnreachableError
from limbeck_server.client.following import Following
from limbeck_server.client.image_cache import ImageCache
from support.served import Served, served


def fillers() -> list[psutil.Process]:
    """The processes that this one has started to fill caches."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if "limbeck_server.client.fill" in child.cmdline():
                found.append(child)
    return found


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_readers_at_once_have_one_process_fill_the_cache(tmp_path: Path) -> None:
    with served(tmp_path / "server", allowed=1) as server, Client(server.address) as client:
        job = client.submit("random", server.dataset, ipc=2)
        cache = ImageCache(tmp_path / "cache")
        found: list[list[int]] = []

        def read() -> None:
            with Following(Connection(address=server.address), job.name, cache) as following:
                found.append([image.number for image in following.images()])

        readers = [threading.Thread(target=read, daemon=True) for _ in range(4)]
        for reader in readers:
            reader.start()
        # all but one find the lock taken, and end
        until(lambda: len(cache.listed()[0]) == 2 and len(fillers()) == 1)
        server.allow(3)
        for reader in readers:
            reader.join()
    assert found == [list(range(1, 7))] * 4


def test_a_killed_filler_is_replaced_and_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    with served(tmp_path / "server", allowed=1) as server, Client(server.address) as client:
        job = client.submit("random", server.dataset, ipc=2)
        cache = ImageCache(tmp_path / "cache")
        with Following(Connection(address=server.address), job.name, cache) as following:
            images = following.images()
            numbers = [next(images).number]
            for filler in fillers():
                filler.kill()
            server.allow(3)
            numbers += [image.number for image in images]
    assert numbers == list(range(1, 7))


def test_no_process_is_left_by_a_reader_that_leaves(server: Served, done: Job, tmp_path: Path) -> None:
    with Following(Connection(address=server.address), done.name, ImageCache(tmp_path)) as following:
        next(following.images())
    assert fillers() == []


def test_a_job_that_there_is_not_is_the_readers_error(server: Served, tmp_path: Path) -> None:
    connection = Connection(address=server.address)
    with Following(connection, "jobs/" + "0" * 32, ImageCache(tmp_path)) as following, pytest.raises(MissingError):
        following.num_images()


def test_a_server_that_is_away_is_the_readers_error(tmp_path: Path) -> None:
    connection = Connection(address="127.0.0.1:1", timeout_seconds=0.5)
    following = Following(connection, "jobs/" + "0" * 32, ImageCache(tmp_path))
    with following, pytest.raises(UnreachableError):
        following.until_end()
