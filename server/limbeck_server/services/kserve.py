"""The Open Inference Protocol, version 2, over the same engines: `PACK.ROLE` is an engine, `PACK:CALL` a call.

The unmodified clients of the protocol list, describe, load and run them, Triton's among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, TypeAlias

import grpc

from limbeck.backends.base import TensorSpec
from limbeck_server.engines.front import EngineCalls
from limbeck_server.engines.signature import Signature, role_of
from limbeck_server.rpc import grpc_service_pb2 as kserve
from limbeck_server.rpc import grpc_service_pb2_grpc
from limbeck_server.services.kserve_tensors import CONFIG_TYPES, DATATYPES, inputs_of
from limbeck_server.services.packs import EngineControl
from limbeck_server.store.errors import NotFoundError
from limbeck_server.wire.refusal import RequestError, Violation

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_VERSION = "1"
_PLATFORM = "limbeck"


class _Model:
    """A call of a pack under the name that the protocol gives it."""

    def __init__(self, pack: str, call: str, signature: Signature) -> None:
        self.pack = pack
        self.call = call
        self.signature = signature
        role = role_of(call)
        self.name = f"{pack}.{role}" if role else f"{pack}:{call}"


class KserveService(grpc_service_pb2_grpc.GRPCInferenceServiceServicer):
    """The protocol's service.

    Args:
        calls: The way to the engines.
        engines: Loads and unloads them.
    """

    def __init__(self, calls: EngineCalls, engines: EngineControl) -> None:
        """Name every call of every pack."""
        self._calls = calls
        self._engines = engines
        self._models = {model.name: model for model in (_Model(*one) for one in calls.catalog)}

    async def ServerLive(self, request: kserve.ServerLiveRequest, context: _Context) -> kserve.ServerLiveResponse:
        return kserve.ServerLiveResponse(live=True)

    async def ServerReady(self, request: kserve.ServerReadyRequest, context: _Context) -> kserve.ServerReadyResponse:
        return kserve.ServerReadyResponse(ready=self._calls.ready)

    async def ModelReady(self, request: kserve.ModelReadyRequest, context: _Context) -> kserve.ModelReadyResponse:
        self._model(request.name, request.version)
        return kserve.ModelReadyResponse(ready=self._calls.ready)

    async def ServerMetadata(
        self, request: kserve.ServerMetadataRequest, context: _Context
    ) -> kserve.ServerMetadataResponse:
        return kserve.ServerMetadataResponse(
            name=_PLATFORM, version=version("limbeck"), extensions=["model_repository", "model_configuration"]
        )

    async def ModelMetadata(
        self, request: kserve.ModelMetadataRequest, context: _Context
    ) -> kserve.ModelMetadataResponse:
        model = self._model(request.name, request.version)
        return kserve.ModelMetadataResponse(
            name=model.name,
            versions=[_VERSION],
            platform=_PLATFORM,
            inputs=map(_metadata, model.signature.inputs),
            outputs=map(_metadata, model.signature.outputs),
        )

    async def ModelConfig(self, request: kserve.ModelConfigRequest, context: _Context) -> kserve.ModelConfigResponse:
        model = self._model(request.name, request.version)
        config = kserve.ModelConfig(
            name=model.name,
            platform=_PLATFORM,
            backend=_PLATFORM,
            max_batch_size=self._calls.max_rows(model.signature) or 0,
        )
        skipped = 1 if model.signature.batched else 0
        for tensor in model.signature.inputs:
            config.input.add(name=tensor.name, data_type=CONFIG_TYPES[tensor.dtype], dims=_dims(tensor)[skipped:])
        for tensor in model.signature.outputs:
            config.output.add(name=tensor.name, data_type=CONFIG_TYPES[tensor.dtype], dims=_dims(tensor)[skipped:])
        return kserve.ModelConfigResponse(config=config)

    async def ModelInfer(self, request: kserve.ModelInferRequest, context: _Context) -> kserve.ModelInferResponse:
        model = self._model(request.model_name, request.model_version, field="model_name")
        wanted = _wanted(model, request)
        answered = await self._calls.call(model.pack, model.call, inputs_of(request), fields=_fields(request))
        response = kserve.ModelInferResponse(model_name=model.name, model_version=_VERSION, id=request.id)
        response.parameters["batch"].int64_param = answered.batch
        by_name = {tensor.name: tensor for tensor in answered.outputs}
        for name in wanted:
            tensor = by_name[name]
            response.outputs.add(name=name, datatype=DATATYPES[tensor.dtype], shape=tensor.shape)
            response.raw_output_contents.append(tensor.data)
        return response

    async def RepositoryIndex(
        self, request: kserve.RepositoryIndexRequest, context: _Context
    ) -> kserve.RepositoryIndexResponse:
        response = kserve.RepositoryIndexResponse()
        for name, model in sorted(self._models.items()):
            if self._engines.loaded_on(model.pack, model.signature.role):
                response.models.add(name=name, version=_VERSION, state="READY")
            elif not request.ready:
                reason = "not loaded; its first run loads it"
                response.models.add(name=name, version=_VERSION, state="UNAVAILABLE", reason=reason)
        return response

    async def RepositoryModelLoad(
        self, request: kserve.RepositoryModelLoadRequest, context: _Context
    ) -> kserve.RepositoryModelLoadResponse:
        model = self._model(request.model_name, field="model_name")
        if request.parameters:
            raise RequestError(Violation("parameters", "are not taken: a model cannot be brought along, only loaded"))
        await self._engines.load(model.pack, model.signature.role)
        return kserve.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: kserve.RepositoryModelUnloadRequest, context: _Context
    ) -> kserve.RepositoryModelUnloadResponse:
        model = self._model(request.model_name, field="model_name")
        await self._engines.unload(model.pack, model.signature.role)
        return kserve.RepositoryModelUnloadResponse()

    def _model(self, name: str, asked_version: str = "", *, field: str = "name") -> _Model:
        if name not in self._models:
            known = sorted(self._models)
            shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
            raise NotFoundError(f"{field} is '{name:.100}', and there is no such model; there are: {shown or 'none'}")
        if asked_version not in ("", _VERSION):
            raise NotFoundError(f"model '{name}' has the version {_VERSION}, not '{asked_version:.100}'")
        return self._models[name]


def _metadata(tensor: TensorSpec) -> kserve.ModelMetadataResponse.TensorMetadata:
    return kserve.ModelMetadataResponse.TensorMetadata(
        name=tensor.name, datatype=DATATYPES[tensor.dtype], shape=_dims(tensor)
    )


def _dims(tensor: TensorSpec) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in tensor.shape]


def _fields(request: kserve.ModelInferRequest) -> dict[str, str]:
    return {tensor.name: f"inputs[{index}]" for index, tensor in enumerate(request.inputs)}


def _wanted(model: _Model, request: kserve.ModelInferRequest) -> Sequence[str]:
    """The outputs that a request asks for, in its order."""
    given = [tensor.name for tensor in model.signature.outputs]
    for index, output in enumerate(request.outputs):
        if output.name not in given:
            raise RequestError(
                Violation(f"outputs[{index}].name", f"is '{output.name:.100}'; the model gives {', '.join(given)}")
            )
        for parameter in output.parameters:
            if parameter == "classification" or parameter.startswith("shared_memory"):
                raise RequestError(Violation(f"outputs[{index}].parameters", f"{parameter} is not offered"))
    return [output.name for output in request.outputs] or given
