"""Plans of jobs, made in side processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limbeck_server.side.runner import SideProcesses
from limbeck_server.spec import parse
from limbeck_server.store.threaded import ThreadedStore
from limbeck_server.trust.paths import AllowedRoots
from limbeck_server.workers.config import WorkerConfig
from limbeck_server.workers.ledger import resource_path

_SILENCE_SECONDS = 600.0


@dataclass(frozen=True)
class SidePlanning:
    """Makes plans.

    Args:
        store: Knows where datasets lie.
        side: Runs the processes.
        config: How workers work, whose work is planned.
        roots: Where registered datasets must lie.
    """

    store: ThreadedStore
    side: SideProcesses
    config: WorkerConfig
    roots: AllowedRoots

    async def plan(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a distillation would take, as `runner.planned.plan_job` says it.

        Raises:
            BudgetError: Nothing fits; it says what would.
            LimbeckError: The job could not run.
        """
        references = parse("distill", spec).references()
        resources = await self.store.run(
            lambda store: {one: resource_path(store, one, self.roots) for one in references}
        )
        payload = {
            "spec": dict(spec),
            "packs": dict(self.config.packs),
            "resources": resources,
            "backend": dict(self.config.backend),
            "max_pixels": self.config.max_pixels,
            "budget_nbytes": self.config.budget_nbytes,
        }
        return await self.side.run("plan", payload, silence_seconds=_SILENCE_SECONDS)
