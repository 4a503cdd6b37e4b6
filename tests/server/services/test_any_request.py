"""Whatever a client sends, it is answered or refused with a reason, and no fault of the server shows."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck.pack import shipped_packs  # noqa: E402
from limbeck_server.rpc import (  # noqa: E402
    jobs_pb2,
    jobs_pb2_grpc,
    packs_pb2,
    packs_pb2_grpc,
    sets_pb2,
    sets_pb2_grpc,
)
from limbeck_server.services.jobs import Jobs  # noqa: E402
from limbeck_server.services.packs import Packs  # noqa: E402
from limbeck_server.services.sets import DistilledSets  # noqa: E402
from limbeck_server.wire.errors import remote_error  # noqa: E402
from limbeck_server.wire.names import dataset_name, job_name, set_name  # noqa: E402
from limbeck_server.wire.refusal import Code  # noqa: E402
from support.random_messages import random_message  # noqa: E402
from support.serving import ID, Backing, collected, finished_set, ready_dataset, rules, run, serving  # noqa: E402

FAULTS = (Code.INTERNAL, Code.UNKNOWN, Code.UNIMPLEMENTED, Code.DATA_LOSS, Code.DEADLINE_EXCEEDED)
SERVICES = {
    "JobService": (jobs_pb2, jobs_pb2_grpc.JobServiceStub),
    "PackService": (packs_pb2, packs_pb2_grpc.PackServiceStub),
    "DistilledSetService": (sets_pb2, sets_pb2_grpc.DistilledSetServiceStub),
}


class Idle:
    """No progress, and no engines."""

    def latest(self, job: str) -> None:
        return None

    async def load(self, pack: str, role: str) -> None:
        pass

    async def unload(self, pack: str, role: str) -> None:
        pass

    def loaded_on(self, pack: str, role: str) -> list[str]:
        return []


def register(backing: Backing) -> None:
    jobs = Jobs(backing.store, rules=rules(), progress=Idle(), wake=lambda: None)
    jobs_pb2_grpc.add_JobServiceServicer_to_server(jobs, backing.server)
    packs_pb2_grpc.add_PackServiceServicer_to_server(Packs(shipped_packs(), engines=Idle()), backing.server)
    sets = DistilledSets(backing.store, backing.blobs)
    sets_pb2_grpc.add_DistilledSetServiceServicer_to_server(sets, backing.server)


async def names(backing: Backing) -> list[str]:
    """Names of what there is, of what there is not, and what is none."""
    record = await backing.do(lambda store: finished_set(store, backing.blobs, backing.folder / "set"))
    dataset = await backing.do(ready_dataset)
    real = [job_name(record.job), set_name(record.id), dataset_name(dataset.id), "packs/mini"]
    words = ["packs/mini/engines/decoder", "d4m", "random", "default", "onnxruntime", "manifest.json", "every=2"]
    wrong = [job_name(ID), dataset_name(ID), "../../etc/passwd", "\x00", "jobs/", "'; DROP TABLE job"]
    return [*real, *real, *words, *wrong]


async def answered(call: Any, *, stream: bool) -> Code:
    """The code that a call ended with; one that waits for more of a running job has been answered."""
    try:
        await (collected(call) if stream else call)
    except grpc.RpcError as error:
        refusal = remote_error(error).refusal
        assert refusal.reason, refusal
        return refusal.code
    return Code.OK


@pytest.mark.parametrize("service", SERVICES)
def test_any_request_is_answered_or_refused_with_a_reason(tmp_path: Path, service: str) -> None:
    module, stub_kind = SERVICES[service]

    async def test() -> None:
        async with serving(tmp_path, register) as backing:
            texts, stub = await names(backing), stub_kind(backing.channel)
            random = Random(20260101)
            for method in module.DESCRIPTOR.services_by_name[service].methods:
                for _ in range(60):
                    request = random_message(random, method.input_type, texts)
                    call = getattr(stub, method.name)(request)
                    code = await answered(call, stream=method.server_streaming)
                    assert code not in FAULTS, (method.name, request)

    run(test())
