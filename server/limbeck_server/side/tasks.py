"""What side processes can do, by name. A task's libraries are loaded when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Json = Mapping[str, Any]
Report = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""


def check_dataset(payload: Json, report: Report) -> Json:
    """See `side.check_dataset`."""
    from limbeck_server.side.check_dataset import check_dataset

    return check_dataset(payload, report)


def plan(payload: Json, report: Report) -> Json:
    """See `side.plan`."""
    from limbeck_server.side.plan import plan

    return plan(payload, report)


TASKS: Mapping[str, Callable[[Json, Report], Json]] = {"check_dataset": check_dataset, "plan": plan}
