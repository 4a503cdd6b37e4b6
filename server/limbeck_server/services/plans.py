"""The plan service: what a job would take, before it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import grpc

from limbeck_server.rpc import plans_pb2, plans_pb2_grpc
from limbeck_server.services.asked import asked_spec, refuse_unready
from limbeck_server.spec import Rules
from limbeck_server.store.threaded import ThreadedStore
from limbeck_server.trust.identity import current
from limbeck_server.wire.plans import plan_message


class Planning(Protocol):
    """What can plan, beside the front."""

    async def plan(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """The plan of a distillation, as `runner.local.describe` says it, with budget_nbytes and disk_nbytes.

        Raises:
            BudgetError: Nothing fits the budget.
            LimbeckError: The job cannot be planned.
        """
        ...


class Plans(plans_pb2_grpc.PlanServiceServicer):
    """`limbeck.v1.PlanService`.

    Args:
        store: The ledger, which knows the datasets.
        rules: What the server lets a job do.
        planning: Plans.
    """

    def __init__(self, store: ThreadedStore, *, rules: Rules, planning: Planning) -> None:
        self._store = store
        self._rules = rules
        self._planning = planning

    async def PlanJob(
        self, request: plans_pb2.PlanJobRequest, context: grpc.aio.ServicerContext
    ) -> plans_pb2.PlanJobResponse:
        caller = current()
        kind, spec = await asyncio.to_thread(asked_spec, request, self._rules)
        await self._store.run(lambda store: refuse_unready(store, kind, spec, caller))
        return plans_pb2.PlanJobResponse(plan=plan_message(await self._planning.plan(spec)))
