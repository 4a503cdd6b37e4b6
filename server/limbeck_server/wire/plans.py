"""Plans: JSON as the planner says it, to the message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from limbeck_server.rpc import plans_pb2
from limbeck_server.wire.times import duration_of


def plan_message(plan: Mapping[str, Any]) -> plans_pb2.Plan:
    """A plan as `runner.local.describe` says it, with `budget_nbytes` and `disk_nbytes` where they are known."""
    return plans_pb2.Plan(
        peak_nbytes=plan["peak_nbytes"],
        parts=plan["parts"],
        stages=plan["stages"],
        engine_time=duration_of(plan["seconds"]),
        bucket=plan["bucket"],
        codec_bucket=plan["codec_bucket"],
        tile=plan.get("tile"),
        groups=[plans_pb2.EngineGroup(roles=group) for group in plan["groups"]],
        wave=plan["wave"],
        budget_nbytes=plan.get("budget_nbytes") or 0,
        disk_nbytes=plan.get("disk_nbytes") or 0,
    )
