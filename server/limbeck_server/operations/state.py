"""What keeps a server from serving, in words, and what can still be done meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from enum import StrEnum

_log = logging.getLogger(__name__)


class Condition(StrEnum):
    """Something that keeps a server from serving."""

    STARTING = "starting"
    DRAINING = "draining"  # it ends: what runs is finished or given back, nothing new is taken
    DISK_FULL = "disk_full"
    DISK_READ_ONLY = "disk_read_only"
    LEDGER_CORRUPT = "ledger_corrupt"
    LEDGER_FAILING = "ledger_failing"
    NO_WORKERS = "no_workers"


_UP = frozenset({Condition.STARTING, Condition.DRAINING})
_READS = _UP | {Condition.LEDGER_CORRUPT, Condition.LEDGER_FAILING}
_WRITES = _READS | {Condition.DISK_FULL, Condition.DISK_READ_ONLY}
_RUNS = _UP | {Condition.NO_WORKERS}

LIVE = "limbeck.live"
"""The health service that says only that the process answers: for a probe that restarts what it cannot reach. A restart
does not make a full disk larger."""

SERVICES: Mapping[str, frozenset[Condition]] = {
    "": frozenset(Condition),
    LIVE: frozenset(),
    "limbeck.v1.JobService": _WRITES,
    "limbeck.v1.DatasetService": _WRITES,
    "limbeck.v1.DistilledSetService": _READS,
    "limbeck.v1.PlanService": _READS,
    "limbeck.v1.PackService": _UP,
    "limbeck.v1.ServerService": _UP,
    "limbeck.v1.InferenceService": _RUNS,
    "inference.GRPCInferenceService": _RUNS,
}
"""What each service, as grpc.health.v1 names it, cannot be served with; "" is the whole server."""


class ServerState:
    """The conditions that a server is in now, each with a sentence about it."""

    def __init__(self) -> None:
        """Begin as a server that starts."""
        self._reasons: dict[Condition, str] = {Condition.STARTING: "the server starts"}
        self._listeners: list[Callable[[], None]] = []

    @property
    def reasons(self) -> Mapping[Condition, str]:
        """Every condition that it is in."""
        return dict(self._reasons)

    @property
    def draining(self) -> bool:
        """Whether it ends."""
        return Condition.DRAINING in self._reasons

    def enter(self, condition: Condition, reason: str) -> None:
        """It is in this condition from now on."""
        known = condition in self._reasons
        self._reasons[condition] = reason
        if not known:
            _log.warning("condition_entered condition=%s reason=%s", condition, reason)
            self._tell()

    def leave(self, *conditions: Condition) -> None:
        """It is in none of these conditions any more."""
        for condition in conditions:
            if self._reasons.pop(condition, None) is not None:
                _log.info("condition_left condition=%s", condition)
                self._tell()

    def serves(self, service: str) -> bool:
        """Whether a service of `SERVICES` can do what it is for."""
        return SERVICES[service].isdisjoint(self._reasons)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
