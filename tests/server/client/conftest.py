"""A server for all tests of the client, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.client import Client, Job
from support.served import served

if TYPE_CHECKING:
    from support.served import Served


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    with Client(server.address, timeout_seconds=30) as client:
        yield client


@pytest.fixture(scope="package")
def done(server: Served) -> Job:
    """A job that has succeeded, with 20 images of each of 3 classes."""
    with Client(server.address) as client:
        return client.wait(client.submit("random", server.dataset, ipc=20))
