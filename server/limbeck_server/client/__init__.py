"""The client of a limbeck server, in the user's nouns.

    with Client("localhost:50051") as client:
        data = client.upload_dataset("photos/train")
        job = client.submit("d4m", data, ipc=10)
        for event in client.watch(job): ...
        client.download(job, "distilled")

`AsyncClient` is the same for asyncio. `DistilledDataset` and `DistilledImages` are torch's datasets of what a job
makes, and import torch when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import google.rpc.status_pb2  # noqa: F401
    import grpc  # noqa: F401
except ImportError as error:
    raise ImportError(f"the client needs gRPC: pip install 'limbeck[client]' ({error})") from error

from limbeck_server.client.aio import AsyncClient
from limbeck_server.client.connection import Connection, Tls
from limbeck_server.client.errors import (
    BusyError,
    DeniedError,
    JobError,
    MissingError,
    RequestError,
    ServerError,
    StateError,
    UnreachableError,
    Violation,
)
from limbeck_server.client.jobs import DistillOptions, EvaluateOptions, Event, Job, Plan, Reading, RoleBackend
from limbeck_server.client.packs import Device, EngineInfo, Limits, MethodInfo, Pack, ServerInfo, TensorSpec
from limbeck_server.client.sets import Dataset, DistilledImage, DistilledSet
from limbeck_server.client.sync import Client
from limbeck_server.store.records import DatasetState, Failure, JobState

if TYPE_CHECKING:
    from limbeck_server.client.torch_data import DistilledDataset, DistilledImages

__all__ = [
    "AsyncClient",
    "BusyError",
    "Client",
    "Connection",
    "Dataset",
    "DatasetState",
    "DeniedError",
    "Device",
    "DistillOptions",
    "DistilledDataset",
    "DistilledImage",
    "DistilledImages",
    "DistilledSet",
    "EngineInfo",
    "EvaluateOptions",
    "Event",
    "Failure",
    "Job",
    "JobError",
    "JobState",
    "Limits",
    "MethodInfo",
    "MissingError",
    "Pack",
    "Plan",
    "Reading",
    "RequestError",
    "RoleBackend",
    "ServerError",
    "ServerInfo",
    "StateError",
    "TensorSpec",
    "Tls",
    "UnreachableError",
    "Violation",
]

_TORCH = ("DistilledDataset", "DistilledImages")


def __getattr__(name: str) -> Any:
    if name not in _TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from limbeck_server.client import torch_data

    return getattr(torch_data, name)
