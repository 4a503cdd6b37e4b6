"""What a worker is told when it begins: plain values, sent by the front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from limbeck.data.decode import MAX_PIXELS


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """How a worker works.

    Args:
        packs: The folder of every pack, by name.
        backend: Settings of backends by name, such as threads, under those that a job gives.
        budget_nbytes: The budget of a job that names none.
        engines_nbytes: What engines may take that are loaded for direct calls.
        bucket: Rows that direct calls share at most.
        call_delay_seconds: How long a direct call waits for others.
        max_pixels: The largest image that is decoded.
        log_format: How log lines look.
    """

    packs: Mapping[str, str]
    backend: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    budget_nbytes: int | None = None
    engines_nbytes: int | None = None
    bucket: int = 16
    call_delay_seconds: float = 0.003
    max_pixels: int = MAX_PIXELS
    log_format: Literal["json", "text"] = "json"
