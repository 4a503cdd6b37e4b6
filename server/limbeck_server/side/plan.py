"""The side task that plans a job without running it.

    {"spec": …, "packs": {name: folder}, "resources": {name: path}, "backend": {name: settings}, "max_pixels": …,
     "budget_nbytes": … or null}

The answer is that of `runner.planned.plan_job`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limbeck_server.runner.planned import plan_job
from limbeck_server.side.tasks import Json, Report
from limbeck_server.spec import DistillSpec, Places


def plan(payload: Json, report: Report) -> dict[str, Any]:
    """Plan a distillation, see the module.

    Raises:
        BudgetError: Nothing fits; it says what would.
        LimbeckError: The job could not run.
    """
    places = Places(
        packs=payload["packs"],
        resources=payload["resources"],
        backend=payload["backend"],
        max_pixels=payload["max_pixels"],
    )
    spec = DistillSpec.model_validate(payload["spec"])
    return plan_job(places.job(spec, out=Path(), budget_nbytes=payload["budget_nbytes"]), report)
