"""The server service: what the server is and can do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import grpc

from limbeck import __version__
from limbeck_server.rpc import server_pb2, server_pb2_grpc
from limbeck_server.services.paging import MAX_PAGE_SIZE
from limbeck_server.wire.methods import method_messages
from limbeck_server.wire.names import pack_name


@dataclass(frozen=True)
class Limits:
    """What the server takes at most; 0 is no limit.

    Args:
        message_nbytes: Of one message.
        upload_nbytes: Of one uploaded file.
        chunk_nbytes: Of the data in one piece of an upload.
        image_pixels: Width times height of one real image.
    """

    message_nbytes: int
    upload_nbytes: int
    chunk_nbytes: int
    image_pixels: int


@dataclass(frozen=True)
class Device:
    """What a worker runs on: such as "cpu" or "cuda:0", the worker's id, and whether it takes work."""

    name: str
    worker: str
    ready: bool


class ServerInformation(server_pb2_grpc.ServerServiceServicer):
    """`limbeck.v1.ServerService`.

    Args:
        limits: What the server takes at most.
        packs: What its packs are called.
        devices: Gives what the workers run on now.
    """

    def __init__(self, limits: Limits, *, packs: Sequence[str], devices: Callable[[], Sequence[Device]]) -> None:
        self._limits = limits
        self._packs = packs
        self._devices = devices

    async def GetServerInfo(
        self, request: server_pb2.GetServerInfoRequest, context: grpc.aio.ServicerContext
    ) -> server_pb2.GetServerInfoResponse:
        info = server_pb2.ServerInfo(
            version=__version__,
            limits=server_pb2.Limits(**vars(self._limits), page_size=MAX_PAGE_SIZE),
            methods=await asyncio.to_thread(lambda: self._methods),
            packs=map(pack_name, sorted(self._packs)),
            devices=[server_pb2.Device(**vars(device)) for device in self._devices()],
        )
        return server_pb2.GetServerInfoResponse(server=info)

    @cached_property
    def _methods(self) -> list[server_pb2.MethodInfo]:
        """Made when it is first asked for: the schemas of all methods take a moment."""
        return method_messages()
