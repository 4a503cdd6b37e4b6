"""Packs, engines and the server itself, as a client sees them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limbeck_server.rpc import packs_pb2, server_pb2, tensors_pb2


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Networks that were exported together.

    Args:
        name: What a job calls it, such as "mini".
        digest: SHA-256 of its manifest, which has those of its files.
        nbytes: Its files.
        image_size: Height and width of the images that it makes, in pixels; None if it makes none.
        parts: What it can do: "denoiser", "codec", "backbone".
        roles: Of its graphs.
        num_classes: Classes that its denoiser knows; 0 if it knows texts.
        sources, licenses: Of each part.
    """

    name: str
    digest: str
    nbytes: int
    image_size: int | None
    parts: tuple[str, ...]
    roles: tuple[str, ...]
    num_classes: int
    sources: Mapping[str, str]
    licenses: Mapping[str, str]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of an engine: its type, such as "float32", and its lengths; a word is a free one."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """A graph of a pack, ready to be run.

    Args:
        pack, role: Which.
        loaded: Whether a worker has it in memory.
        workers: Those that have.
        inputs, outputs: What it takes and gives.
        precision: Of its arithmetic.
        nbytes: Its graph's files.
    """

    pack: str
    role: str
    loaded: bool
    workers: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: str
    nbytes: int


@dataclass(frozen=True)
class Limits:
    """What a server takes at most; None is no limit."""

    message_nbytes: int | None
    upload_nbytes: int | None
    chunk_nbytes: int | None
    image_pixels: int | None


@dataclass(frozen=True)
class MethodInfo:
    """A method that the server runs, with the JSON schema of its settings."""

    name: str
    summary: str
    settings_schema: Mapping[str, Any]


@dataclass(frozen=True)
class Device:
    """What a worker runs on, and whether it takes work."""

    name: str
    worker: str
    ready: bool


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """A server: its version of limbeck, its limits, methods, packs and devices."""

    version: str
    limits: Limits
    methods: tuple[MethodInfo, ...]
    packs: tuple[str, ...]
    devices: tuple[Device, ...]


def pack_from(message: packs_pb2.Pack) -> Pack:
    """A pack from its message."""
    return Pack(
        name=message.name.partition("/")[2],
        digest=message.digest,
        nbytes=message.nbytes,
        image_size=message.image_size or None,
        parts=tuple(message.parts),
        roles=tuple(message.roles),
        num_classes=message.num_classes,
        sources=dict(message.sources),
        licenses=dict(message.licenses),
    )


def engine_from(message: packs_pb2.Engine) -> EngineInfo:
    """An engine from its message."""
    return EngineInfo(
        pack=message.name.split("/")[1],
        role=message.role,
        loaded=message.state == packs_pb2.ENGINE_STATE_LOADED,
        workers=tuple(message.workers),
        inputs=tuple(map(_tensor, message.inputs)),
        outputs=tuple(map(_tensor, message.outputs)),
        precision=message.precision,
        nbytes=message.nbytes,
    )


def info_from(message: server_pb2.ServerInfo) -> ServerInfo:
    """A server from its message."""
    limits = message.limits
    return ServerInfo(
        version=message.version,
        limits=Limits(
            limits.message_nbytes or None,
            limits.upload_nbytes or None,
            limits.chunk_nbytes or None,
            limits.image_pixels or None,
        ),
        methods=tuple(
            MethodInfo(method.name, method.summary, json.loads(method.settings_schema or "{}"))
            for method in message.methods
        ),
        packs=tuple(pack.partition("/")[2] for pack in message.packs),
        devices=tuple(Device(device.name, device.worker, device.ready) for device in message.devices),
    )


def _tensor(message: tensors_pb2.TensorSpec) -> TensorSpec:
    dtype: str = tensors_pb2.DataType.Name(message.dtype).removeprefix("DATA_TYPE_").lower()
    return TensorSpec(message.name, dtype, tuple(getattr(one, one.WhichOneof("length")) for one in message.shape))
