"""Which scope each RPC needs."""

from __future__ import annotations

from collections.abc import Mapping

from limbeck_server.trust.identity import Scope

_HEALTH = "/grpc.health.v1.Health/"
_KSERVE = "/inference.GRPCInferenceService/"

_READ = {
    "JobService": ("GetJob", "ListJobs", "ListJobEvents", "WatchJob"),
    "PackService": ("ListPacks", "GetPack", "ListEngines", "GetEngine"),
    "DatasetService": ("GetDataset", "ListDatasets"),
    "DistilledSetService": (
        "GetDistilledSet",
        "ListDistilledSets",
        "ListArtifacts",
        "StreamImages",
        "DownloadArtifact",
    ),
    "ServerService": ("GetServerInfo",),
}
_SUBMIT = {
    "JobService": ("CreateJob", "CancelJob", "DeleteJob"),
    "PlanService": ("PlanJob",),
    "DatasetService": ("RegisterDataset", "StartUpload", "UploadDataset", "DeleteDataset"),
    "DistilledSetService": ("DeleteDistilledSet",),
    "InferenceService": ("Denoise", "Encode", "Decode", "Features", "FeaturesGradient"),
}
_ADMIN = {"PackService": ("LoadEngine", "UnloadEngine")}


def _named(table: Mapping[str, tuple[str, ...]], scope: Scope) -> dict[str, Scope | None]:
    return {f"/limbeck.v1.{service}/{method}": scope for service, methods in table.items() for method in methods}


SCOPES: Mapping[str, Scope | None] = {
    **_named(_READ, Scope.READ),
    **_named(_SUBMIT, Scope.SUBMIT),
    **_named(_ADMIN, Scope.ADMIN),
    # A probe has no token, and learns no more than whether the server works.
    f"{_HEALTH}Check": None,
    f"{_HEALTH}Watch": None,
    f"{_HEALTH}List": Scope.READ,
    f"{_KSERVE}ServerLive": None,
    f"{_KSERVE}ServerReady": None,
    f"{_KSERVE}ServerMetadata": Scope.READ,
    f"{_KSERVE}ModelReady": Scope.READ,
    f"{_KSERVE}ModelMetadata": Scope.READ,
    f"{_KSERVE}ModelConfig": Scope.READ,
    f"{_KSERVE}ModelStatistics": Scope.READ,
    f"{_KSERVE}RepositoryIndex": Scope.READ,
    f"{_KSERVE}ModelInfer": Scope.SUBMIT,
    f"{_KSERVE}ModelStreamInfer": Scope.SUBMIT,
    f"{_KSERVE}RepositoryModelLoad": Scope.ADMIN,
    f"{_KSERVE}RepositoryModelUnload": Scope.ADMIN,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Scope.READ,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Scope.READ,
}
"""By the RPC's full name; None is open to everybody. What is not here needs admin."""


def needed(method: str) -> Scope | None:
    """The scope that an RPC needs; None if everybody may call it."""
    return SCOPES.get(method, Scope.ADMIN)
