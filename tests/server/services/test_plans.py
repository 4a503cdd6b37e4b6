"""The plan service: a plan as it was made, and refusals that say what would fit."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck.errors import BudgetError  # noqa: E402
from limbeck_server.rpc import plans_pb2, plans_pb2_grpc, specs_pb2  # noqa: E402
from limbeck_server.services.plans import Plans  # noqa: E402
from support.serving import Backing, fields_of, ready_dataset, refused, rules, run, serving  # noqa: E402

PLAN: Mapping[str, Any] = {
    "peak_nbytes": 900,
    "parts": {"engines": 600, "pictures": 300},
    "stages": {"trunk": 900},
    "seconds": 1.5,
    "bucket": 8,
    "codec_bucket": 4,
    "tile": None,
    "groups": [["encoder", "decoder"], ["trunk"]],
    "wave": 16,
    "budget_nbytes": 1000,
    "disk_nbytes": 123,
}


class Needs:
    """Plans anything that has 900 bytes."""

    async def plan(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        if spec["budget_nbytes"] and spec["budget_nbytes"] < 900:
            raise BudgetError(
                "nothing fits in 800 B\n  would fit: 900 B",
                needed_nbytes=900,
                budget_nbytes=spec["budget_nbytes"],
                largest_part="engines",
            )
        return PLAN


@asynccontextmanager
async def plans(folder: Path) -> AsyncIterator[tuple[Any, plans_pb2.PlanJobRequest]]:
    def register(backing: Backing) -> None:
        service = Plans(backing.store, rules=rules(), planning=Needs())
        plans_pb2_grpc.add_PlanServiceServicer_to_server(service, backing.server)

    async with serving(folder, register) as backing:
        dataset = await backing.do(ready_dataset)
        spec = specs_pb2.DistillSpec(method="random", dataset=f"datasets/{dataset.id}")
        yield plans_pb2_grpc.PlanServiceStub(backing.channel), plans_pb2.PlanJobRequest(distill=spec)


def test_a_plan_arrives_as_it_was_made(tmp_path: Path) -> None:
    async def test() -> None:
        async with plans(tmp_path) as (stub, request):
            plan = (await stub.PlanJob(request)).plan
            assert (plan.peak_nbytes, dict(plan.parts), dict(plan.stages)) == (900, PLAN["parts"], PLAN["stages"])
            assert plan.engine_time.ToMilliseconds() == 1500
            assert [list(group.roles) for group in plan.groups] == PLAN["groups"]
            assert not plan.HasField("tile")
            assert (plan.budget_nbytes, plan.disk_nbytes) == (1000, 123)

    run(test())


def test_a_budget_that_is_too_small_says_what_would_fit(tmp_path: Path) -> None:
    async def test() -> None:
        async with plans(tmp_path) as (stub, request):
            request.distill.budget_nbytes = 800
            refusal = (await refused(stub.PlanJob(request))).refusal
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BUDGET_TOO_SMALL")
            assert (refusal.metadata["needed_nbytes"], refusal.metadata["largest_part"]) == ("900", "engines")
            assert "would fit: 900 B" in refusal.message

    run(test())


def test_a_spec_is_checked_before_anything_is_planned(tmp_path: Path) -> None:
    async def test() -> None:
        async with plans(tmp_path) as (stub, request):
            request.distill.method = "none"
            assert fields_of(await refused(stub.PlanJob(request))) == ["distill.method"]

    run(test())
