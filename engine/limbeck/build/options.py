"""The settings of a build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from limbeck.build.effort import GATE_SECONDS
from limbeck.diffusion.step_cache import StepCache
from limbeck.errors import ConfigError
from limbeck.pack import Role
from limbeck.precision import PrecisionName

Asked: TypeAlias = Literal["auto", PrecisionName]


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What to build.

    Args:
        precision: "auto" keeps the fastest that passes. A precision by name is kept wherever it passes, faster or not;
            "fp32" keeps every graph and only measures.
        budget_nbytes: The most private memory that one engine may take; None for any.
        roles: The graphs to work on; None for all that the pack has.
        bucket: Samples in one engine call, for timing, memory and the gate.
        gate_seconds: About how long the gate may ask one candidate.
        timing_seconds: About how long a candidate and the float32 graph are timed beside each other.
        quick: Ask the gate's fewest questions.
        seed: Fixes the gate's questions.
        step_cache: To be judged at the precision that is kept for the trunk; None makes the pack without.
    """

    precision: Asked = "auto"
    budget_nbytes: int | None = None
    roles: tuple[Role, ...] | None = None
    bucket: int = 8
    gate_seconds: float = GATE_SECONDS
    timing_seconds: float = 2.0
    quick: bool = False
    seed: int = 0
    step_cache: StepCache | None = None

    def __post_init__(self) -> None:
        """Reject settings that could only fail in the middle of a build."""
        if self.bucket < 1:
            raise ConfigError(f"bucket must be at least 1, got {self.bucket}")
        if self.gate_seconds <= 0:
            raise ConfigError(f"the gate needs time to ask anything, got {self.gate_seconds} seconds")
