"""What a server says of itself."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck import __version__
from limbeck.methods import METHODS, make_method
from limbeck_server.rpc import server_pb2, server_pb2_grpc
from limbeck_server.services.server_info import Device, Limits, ServerInformation
from support.serving import Backing, run, serving

LIMITS = Limits(message_nbytes=16, upload_nbytes=15, chunk_nbytes=14, image_pixels=13)


@asynccontextmanager
async def information(folder: Path) -> AsyncIterator[Any]:
    def register(backing: Backing) -> None:
        service = ServerInformation(
            LIMITS, packs=["mini", "large"], devices=lambda: [Device("cpu", "worker-0", ready=True)]
        )
        server_pb2_grpc.add_ServerServiceServicer_to_server(service, backing.server)

    async with serving(folder, register) as backing:
        stub = server_pb2_grpc.ServerServiceStub(backing.channel)
        yield (await stub.GetServerInfo(server_pb2.GetServerInfoRequest())).server


def test_a_server_says_its_version_limits_packs_and_devices(tmp_path: Path) -> None:
    async def test() -> None:
        async with information(tmp_path) as info:
            assert info.version == __version__
            assert (info.limits.message_nbytes, info.limits.image_pixels) == (16, 13)
            assert list(info.packs) == ["packs/large", "packs/mini"]
            assert [(one.name, one.worker, one.ready) for one in info.devices] == [("cpu", "worker-0", True)]

    run(test())


def test_every_method_comes_with_a_schema_whose_defaults_it_takes(tmp_path: Path) -> None:
    async def test() -> None:
        async with information(tmp_path) as info:
            methods = {one.name: json.loads(one.settings_schema) for one in info.methods}
            assert set(METHODS) <= set(methods)
            for name in METHODS:
                properties = methods[name]["properties"]
                defaults = {field: one["default"] for field, one in properties.items() if "default" in one}
                assert make_method(name, ipc=1, settings=defaults) == make_method(name, ipc=1, settings={})

    run(test())


def test_a_schema_leaves_out_what_the_job_says_itself(tmp_path: Path) -> None:
    async def test() -> None:
        async with information(tmp_path) as info:
            for one in info.methods:
                assert not {"ipc", "seed"} & set(json.loads(one.settings_schema)["properties"])
                assert one.summary

    run(test())
