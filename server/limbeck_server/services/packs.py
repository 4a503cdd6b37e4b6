"""The pack service: which packs the server has, and which of their engines are loaded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import grpc

from limbeck.errors import PackError
from limbeck.pack import Pack
from limbeck_server.rpc import packs_pb2, packs_pb2_grpc
from limbeck_server.services.paging import page_after, page_size
from limbeck_server.store.errors import NotFoundError
from limbeck_server.wire.names import engine_id, pack_id
from limbeck_server.wire.packs import engine_message, pack_message

logger = logging.getLogger(__name__)


class EngineControl(Protocol):
    """What has the workers load and unload engines."""

    async def load(self, pack: str, role: str) -> None:
        """Load an engine on a worker, if it is on none.

        Raises:
            LimbeckError: It cannot be loaded.
        """
        ...

    async def unload(self, pack: str, role: str) -> None:
        """Unload an engine on every worker."""
        ...

    def loaded_on(self, pack: str, role: str) -> Sequence[str]:
        """The workers that have loaded it."""
        ...


class Packs(packs_pb2_grpc.PackServiceServicer):
    """`limbeck.v1.PackService`.

    Args:
        packs: The packs' folders by name.
        engines: Loads and unloads.
    """

    def __init__(self, packs: Mapping[str, Path], *, engines: EngineControl) -> None:
        self._packs = packs
        self._engines = engines

    async def ListPacks(
        self, request: packs_pb2.ListPacksRequest, context: grpc.aio.ServicerContext
    ) -> packs_pb2.ListPacksResponse:
        names, token = page_after(sorted(self._packs), page_size(request.page_size), request.page_token)
        packs = await asyncio.to_thread(self._readable, names)
        return packs_pb2.ListPacksResponse(packs=packs, next_page_token=token)

    async def GetPack(
        self, request: packs_pb2.GetPackRequest, context: grpc.aio.ServicerContext
    ) -> packs_pb2.GetPackResponse:
        name = pack_id(request.name)
        return packs_pb2.GetPackResponse(pack=pack_message(name, await self._open(name)))

    async def ListEngines(
        self, request: packs_pb2.ListEnginesRequest, context: grpc.aio.ServicerContext
    ) -> packs_pb2.ListEnginesResponse:
        name = pack_id(request.parent, "parent")
        pack = await self._open(name)
        roles, token = page_after(sorted(pack.manifest.graphs), page_size(request.page_size), request.page_token)
        engines = [self._engine(name, pack, role) for role in roles]
        return packs_pb2.ListEnginesResponse(engines=engines, next_page_token=token)

    async def GetEngine(
        self, request: packs_pb2.GetEngineRequest, context: grpc.aio.ServicerContext
    ) -> packs_pb2.GetEngineResponse:
        name, role = engine_id(request.name)
        return packs_pb2.GetEngineResponse(engine=self._engine(name, await self._open(name), role))

    async def LoadEngine(
        self, request: packs_pb2.LoadEngineRequest, context: grpc.aio.ServicerContext
    ) -> packs_pb2.LoadEngineResponse:
        name, role = engine_id(request.name)
        pack = await self._open(name)
        _refuse_absent(name, pack, role)
        await self._engines.load(name, role)
        return packs_pb2.LoadEngineResponse(engine=self._engine(name, pack, role))

    async def UnloadEngine(
        self, request: packs_pb2.UnloadEngineRequest, context: grpc.aio.ServicerContext
    ) -> packs_pb2.UnloadEngineResponse:
        name, role = engine_id(request.name)
        pack = await self._open(name)
        _refuse_absent(name, pack, role)
        await self._engines.unload(name, role)
        return packs_pb2.UnloadEngineResponse(engine=self._engine(name, pack, role))

    def _engine(self, name: str, pack: Pack, role: str) -> packs_pb2.Engine:
        _refuse_absent(name, pack, role)
        return engine_message(name, pack.manifest, role, self._engines.loaded_on(name, role))

    async def _open(self, name: str) -> Pack:
        if name not in self._packs:
            raise NotFoundError(f"there is no pack '{name}'; there is {', '.join(sorted(self._packs)) or 'none'}")
        return await asyncio.to_thread(Pack.open, self._packs[name])

    def _readable(self, names: Sequence[str]) -> list[packs_pb2.Pack]:
        """Those that can be read: a damaged pack must not hide the others."""
        packs = []
        for name in names:
            try:
                packs.append(pack_message(name, Pack.open(self._packs[name])))
            except PackError as error:
                logger.error("pack_unreadable pack=%s error=%s", name, error)
        return packs


def _refuse_absent(name: str, pack: Pack, role: str) -> None:
    graphs = pack.manifest.graphs
    if role not in graphs:
        raise NotFoundError(f"pack '{name}' has no engine '{role[:100]}'; it has {', '.join(sorted(graphs))}")
