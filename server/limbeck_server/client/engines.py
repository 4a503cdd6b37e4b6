"""The part of a client that knows packs and runs their networks: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from numpy.typing import ArrayLike

from limbeck.errors import ConfigError
from limbeck_server.client.calls import SLOW_SECONDS, Calls
from limbeck_server.client.packs import EngineInfo, Pack, ServerInfo, engine_from, info_from, pack_from
from limbeck_server.client.tensors import Array, array_from, tensor_of
from limbeck_server.rpc import (
    inference_pb2,
    inference_pb2_grpc,
    packs_pb2,
    packs_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
)
from limbeck_server.wire.names import engine_name, pack_name

PAGE_SIZE = 200
"""Entries that a list asks for at a time."""


class EngineClient:
    """Calls about the server, its packs and its engines. A pack is called by its own name, such as "mini"."""

    def __init__(self, calls: Calls) -> None:
        """Over `calls`."""
        self._calls = calls
        self._info: ServerInfo | None = None

    async def server_info(self) -> ServerInfo:
        """What the server is and can do."""
        stub = self._calls.stub(server_pb2_grpc.ServerServiceStub)
        answer = await self._calls.unary(stub.GetServerInfo, server_pb2.GetServerInfoRequest())
        self._info = info_from(answer.server)
        return self._info

    async def packs(self) -> AsyncIterator[Pack]:
        """The server's packs, by name."""
        async for page in self._calls.pages(self._packs.ListPacks, packs_pb2.ListPacksRequest(page_size=PAGE_SIZE)):
            for message in page.packs:
                yield pack_from(message)

    async def engines(self, pack: str) -> AsyncIterator[EngineInfo]:
        """The engines of a pack, by role."""
        request = packs_pb2.ListEnginesRequest(parent=pack_name(pack), page_size=PAGE_SIZE)
        async for page in self._calls.pages(self._packs.ListEngines, request):
            for message in page.engines:
                yield engine_from(message)

    async def load_engine(self, pack: str, role: str) -> EngineInfo:
        """Load an engine, so that the first call of it need not."""
        request = packs_pb2.LoadEngineRequest(name=engine_name(pack, role))
        answer = await self._calls.unary(self._packs.LoadEngine, request, answer_seconds=SLOW_SECONDS)
        return engine_from(answer.engine)

    async def unload_engine(self, pack: str, role: str) -> EngineInfo:
        """Unload an engine on every worker, and give its memory back."""
        request = packs_pb2.UnloadEngineRequest(name=engine_name(pack, role))
        return engine_from((await self._calls.unary(self._packs.UnloadEngine, request)).engine)

    async def denoise(
        self,
        pack: str,
        latents: ArrayLike,
        times: Sequence[int],
        *,
        class_ids: Sequence[int] | None = None,
        texts: Sequence[str] | None = None,
    ) -> Array:
        """The noise in latents, without guidance, in their shape.

        Args:
            pack: Whose denoiser.
            latents: Shape (rows, channels, height, width), scaled to unit variance.
            times: The diffusion time of each row, 0..T-1.
            class_ids: What each row shall show, -1 for no class; of a denoiser that knows classes.
            texts: The same of one that knows texts; an empty one is no condition.

        Raises:
            ConfigError: Not one of `class_ids` and `texts`; and, so do the calls below, arrays with other dimensions,
                or more bytes than the server takes in one message.
        """
        if (class_ids is None) == (texts is None):
            raise ConfigError("say what the rows shall show by class_ids or by texts, one of them")
        request = inference_pb2.DenoiseRequest(
            pack=pack_name(pack),
            latents=tensor_of("latents", latents, ndim=4),
            times=times,
            classes=None if class_ids is None else inference_pb2.ClassCondition(class_ids=class_ids),
            texts=None if texts is None else inference_pb2.TextCondition(texts=texts),
        )
        return array_from((await self._run("Denoise", request)).noise)

    async def encode(self, pack: str, images: ArrayLike) -> Array:
        """Latents of images in [0, 1] of shape (rows, 3, height, width)."""
        request = inference_pb2.EncodeRequest(pack=pack_name(pack), images=tensor_of("images", images, ndim=4))
        return array_from((await self._run("Encode", request)).latents)

    async def decode(self, pack: str, latents: ArrayLike) -> Array:
        """Images in [0, 1] of latents of shape (rows, channels, height, width)."""
        request = inference_pb2.DecodeRequest(pack=pack_name(pack), latents=tensor_of("latents", latents, ndim=4))
        return array_from((await self._run("Decode", request)).images)

    async def features(self, pack: str, images: ArrayLike) -> Array:
        """Feature vectors of images, shape (rows, features)."""
        request = inference_pb2.FeaturesRequest(pack=pack_name(pack), images=tensor_of("images", images, ndim=4))
        return array_from((await self._run("Features", request)).features)

    async def features_gradient(self, pack: str, images: ArrayLike, cotangent: ArrayLike) -> tuple[Array, Array]:
        """Feature vectors, and the gradient on the pixels that belongs to the gradient `cotangent` on them."""
        request = inference_pb2.FeaturesGradientRequest(
            pack=pack_name(pack),
            images=tensor_of("images", images, ndim=4),
            cotangent=tensor_of("cotangent", cotangent, ndim=2),
        )
        answer = await self._run("FeaturesGradient", request)
        return array_from(answer.features), array_from(answer.gradient)

    async def _run(self, method: str, request: Any) -> Any:
        limit = (self._info or await self.server_info()).limits.message_nbytes
        nbytes = request.ByteSize()
        if limit is not None and nbytes > limit:
            raise ConfigError(
                f"the arrays take {nbytes:,} bytes, the server takes {limit:,} in a message; send fewer rows at a time"
            )
        stub = self._calls.stub(inference_pb2_grpc.InferenceServiceStub)
        # the first call of an engine loads it
        return await self._calls.unary(getattr(stub, method), request, answer_seconds=SLOW_SECONDS)

    @property
    def _packs(self) -> Any:
        return self._calls.stub(packs_pb2_grpc.PackServiceStub)
