"""Memory as a bar: the parts of the plan, and what was measured against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NUM_COLORS = 6


@dataclass(frozen=True)
class Part:
    """A piece of a bar.

    Args:
        name: What it is.
        nbytes: How much it takes.
        start, width: In percent of the bar.
        color: 0..5, to tell neighbors apart.
    """

    name: str
    nbytes: int
    start: float
    width: float
    color: int


@dataclass(frozen=True)
class MemoryBar:
    """Planned and measured memory on one scale.

    Args:
        planned: The parts of the plan, largest first.
        planned_nbytes, measured_nbytes, budget_nbytes: 0 where not known.
        measured_width, budget_at: In percent of the scale.
    """

    planned: tuple[Part, ...]
    planned_nbytes: int
    measured_nbytes: int
    budget_nbytes: int
    measured_width: float
    budget_at: float


def memory_bar(plan: Mapping[str, Any] | None, measured_nbytes: int) -> MemoryBar | None:
    """The bar of a job; None if nothing is known."""
    plan = plan or {}
    planned, budget = int(plan.get("peak_nbytes") or 0), int(plan.get("budget_nbytes") or 0)
    scale = max(planned, budget, measured_nbytes)
    if not scale:
        return None
    return MemoryBar(
        planned=_parts(plan.get("parts") or {}, planned, scale),
        planned_nbytes=planned,
        measured_nbytes=measured_nbytes,
        budget_nbytes=budget,
        measured_width=100 * measured_nbytes / scale,
        budget_at=min(100 * budget / scale, 99.6),  # its line is as wide as the rest
    )


def _parts(parts: Mapping[str, Any], planned: int, scale: int) -> tuple[Part, ...]:
    amounts = {str(name): int(nbytes) for name, nbytes in parts.items()} or {"planned": planned}
    found, start = [], 0.0
    for index, (name, nbytes) in enumerate(sorted(amounts.items(), key=lambda part: -part[1])):
        width = 100 * nbytes / scale
        found.append(Part(name, nbytes, start, width, index % _NUM_COLORS))
        start += width
    return tuple(found)
