"""`InferenceService`: direct calls of a pack's networks, one RPC a call."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import grpc

from limbeck_server.engines.front import EngineCalls
from limbeck_server.engines.signature import TEXT
from limbeck_server.engines.texts import join_texts
from limbeck_server.rpc import inference_pb2, inference_pb2_grpc, tensors_pb2, worker_pb2
from limbeck_server.wire.names import pack_id
from limbeck_server.wire.packs import data_type
from limbeck_server.wire.refusal import RequestError, Violation

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_PREFIX = "DATA_TYPE_"


class InferenceService(inference_pb2_grpc.InferenceServiceServicer):
    """Direct calls.

    Args:
        calls: The way to the engines.
    """

    def __init__(self, calls: EngineCalls) -> None:
        """Keep the way."""
        self._calls = calls

    async def Denoise(self, request: inference_pb2.DenoiseRequest, context: _Context) -> inference_pb2.DenoiseResponse:
        condition, fields = _condition(request)
        inputs = [_named("latents", request.latents), _int64("times", request.times), condition]
        made, batch = await self._call(request.pack, "denoise", inputs, fields)
        return inference_pb2.DenoiseResponse(noise=made["noise"], batch=batch)

    async def Encode(self, request: inference_pb2.EncodeRequest, context: _Context) -> inference_pb2.EncodeResponse:
        made, batch = await self._call(request.pack, "encode", [_named("images", request.images)])
        return inference_pb2.EncodeResponse(latents=made["latents"], batch=batch)

    async def Decode(self, request: inference_pb2.DecodeRequest, context: _Context) -> inference_pb2.DecodeResponse:
        made, batch = await self._call(request.pack, "decode", [_named("latents", request.latents)])
        return inference_pb2.DecodeResponse(images=made["images"], batch=batch)

    async def Features(
        self, request: inference_pb2.FeaturesRequest, context: _Context
    ) -> inference_pb2.FeaturesResponse:
        made, batch = await self._call(request.pack, "features", [_named("images", request.images)])
        return inference_pb2.FeaturesResponse(features=made["features"], batch=batch)

    async def FeaturesGradient(
        self, request: inference_pb2.FeaturesGradientRequest, context: _Context
    ) -> inference_pb2.FeaturesGradientResponse:
        inputs = [_named("images", request.images), _named("cotangent", request.cotangent)]
        made, batch = await self._call(request.pack, "features_gradient", inputs)
        return inference_pb2.FeaturesGradientResponse(features=made["features"], gradient=made["gradient"], batch=batch)

    async def _call(
        self, pack: str, call: str, inputs: Sequence[worker_pb2.Tensor], fields: Mapping[str, str] | None = None
    ) -> tuple[dict[str, tensors_pb2.Tensor], int]:
        """What the pack answers, by name, and how many rows shared the run."""
        answered = await self._calls.call(pack_id(pack, "pack"), call, inputs, fields=fields or {})
        return {tensor.name: _public(tensor) for tensor in answered.outputs}, answered.batch


def _condition(request: inference_pb2.DenoiseRequest) -> tuple[worker_pb2.Tensor, Mapping[str, str]]:
    """What each row shall show, and where the request has it."""
    kind = request.WhichOneof("condition")
    if kind is None:
        raise RequestError(Violation("condition", "is missing; give classes or texts, one for each row of the latents"))
    if kind == "classes":
        return _int64("class_ids", request.classes.class_ids), {"class_ids": "classes.class_ids"}
    texts = request.texts.texts
    data = join_texts(text.encode() for text in texts)
    tensor = worker_pb2.Tensor(name="prompts", dtype=TEXT, shape=[len(texts)], data=data)
    return tensor, {"prompts": "texts.texts"}


def _named(name: str, tensor: tensors_pb2.Tensor) -> worker_pb2.Tensor:
    # an unknown number has no name, and then the check refuses it
    known = tensor.dtype in tensors_pb2.DataType.values()
    dtype = tensors_pb2.DataType.Name(tensor.dtype).removeprefix(_PREFIX).lower() if known else str(tensor.dtype)
    return worker_pb2.Tensor(name=name, dtype=dtype, shape=tensor.shape, data=tensor.data)


def _int64(name: str, values: Sequence[int]) -> worker_pb2.Tensor:
    data = struct.pack(f"<{len(values)}q", *values)
    return worker_pb2.Tensor(name=name, dtype="int64", shape=[len(values)], data=data)


def _public(tensor: worker_pb2.Tensor) -> tensors_pb2.Tensor:
    return tensors_pb2.Tensor(dtype=data_type(tensor.dtype), shape=tensor.shape, data=tensor.data)
