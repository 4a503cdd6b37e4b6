"""Runs the probes on one backend: does it work, how exact is it, how fast."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from limbeck.arrays import Array
from limbeck.backends.base import AheadOfTimeBackend, Backend
from limbeck.engine import Engine, compile
from limbeck.errors import LimbeckError
from limbeck.probes.catalog import TOLERANCES, Operator, Probe, ProbedPrecision, overflow_graph, probes

_ROWS: Mapping[Operator, tuple[int, int]] = {"matmul": (16, 512), "conv": (1, 8), "attention": (2, 2)}
"""Rows for the error, and for the rate: enough of them to keep a CPU's cores busy for milliseconds."""

_RATE_SECONDS, _FEWEST_CALLS = 0.15, 3

BEYOND = 300.0
"""Its square, 90,000, is beyond float16's largest number, 65,504."""

Overflow = Literal["inf", "float32 inside", "wrong"]


@dataclass(frozen=True)
class Outcome:
    """What one probe found.

    Args:
        operator: What was asked.
        precision: In what.
        works: It ran, and is within the tolerance; for a backend that only builds here: it was built.
        reason: Why it does not work, in the runtime's words; what was built, where nothing ran.
        error: Relative L2 error against float64; None where nothing ran.
        gflop_per_second: The best of a few calls; None where nothing was timed.
    """

    operator: Operator
    precision: ProbedPrecision
    works: bool
    reason: str = ""
    error: float | None = None
    gflop_per_second: float | None = None


Mode = Literal["run", "check", "build", "bf16"]
"""run: error and rate. check: the error only, of a backend that is not there for its speed. build: compile for a device
that is not here. bf16: error and rate of float32 graphs on a backend that is set to compute them in bfloat16."""


def probe_backend(backend: Backend, mode: Mode = "run") -> list[Outcome]:
    """Every probe on one backend; whatever the runtime refuses is in the outcome, not raised."""
    if mode == "build":
        assert isinstance(backend, AheadOfTimeBackend), "only such a backend builds without a device"
        return [_built(probe, backend) for probe in probes()]
    if mode == "bf16":
        return [run_probe(replace(one, precision="bf16"), backend) for one in probes() if one.precision == "fp32"]
    return [run_probe(probe, backend, timed=mode == "run") for probe in probes()]


def run_probe(probe: Probe, backend: Backend, *, timed: bool = True) -> Outcome:
    """One probe on one backend."""
    try:
        with compile(probe.graph, backend) as engine:
            small, large = _ROWS[probe.operator]
            error = _error(engine, probe, small)
            works = error <= TOLERANCES[probe.precision]
            rate = _rate(engine, probe, large) if timed and works and probe.flop_per_row else None
    except LimbeckError as refused:
        return Outcome(probe.operator, probe.precision, False, first_line(refused))
    reason = "" if works else f"relative error {error:.1e}, at most {TOLERANCES[probe.precision]:.0e} is right"
    return Outcome(probe.operator, probe.precision, works, reason, error, rate)


def _built(probe: Probe, backend: AheadOfTimeBackend) -> Outcome:
    try:
        built = backend.build(probe.graph)
    except LimbeckError as refused:
        return Outcome(probe.operator, probe.precision, False, first_line(refused))
    return Outcome(probe.operator, probe.precision, True, f"built, {len(built):,} bytes; not run")


def probe_overflow(backend: Backend) -> dict[str, Overflow]:
    """What becomes of float16 values beyond 65,504: of a `result`, and of a `partial sum` whose end is small again.

    "inf" is float16 arithmetic; "float32 inside" means that the runtime computes such graphs in float32, which is
    exact and no faster; anything else is "wrong".

    Raises:
        EngineError: The backend cannot run the graph.
    """
    x = np.array([[BEYOND, 1, 1, 1], [60000, 60000, -60000, -60000]], np.float32)
    with compile(overflow_graph(), backend) as engine:
        found = engine.run({"x": x})
    return {
        "result": _told(float(found["squares"][0, 0]), BEYOND**2),
        "partial sum": _told(float(found["sums"][1, 0]), 0.0),
    }


def first_line(error: Exception) -> str:
    """The first line of a runtime's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _told(found: float, exact: float) -> Overflow:
    if not np.isfinite(found):
        return "inf"
    return "float32 inside" if abs(found - exact) <= 1e-3 * max(abs(exact), 1) else "wrong"


def _error(engine: Engine, probe: Probe, rows: int) -> float:
    feeds = probe.feeds(rows)
    found, expected = engine.run(feeds)["y"].astype(np.float64), probe.answer(feeds)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected)) if np.isfinite(found).all() else np.inf


def _rate(engine: Engine, probe: Probe, rows: int) -> float:
    assert probe.flop_per_row is not None, "only asked for probes with a count"
    feeds = probe.feeds(rows)
    engine.run(feeds)  # the first call allocates
    best = _best_seconds(engine, feeds)
    return probe.flop_per_row * rows / best / 1e9


def _best_seconds(engine: Engine, feeds: Mapping[str, Array]) -> float:
    times: list[float] = []
    while len(times) < _FEWEST_CALLS or sum(times) < _RATE_SECONDS:
        start = time.perf_counter()
        engine.run(feeds)
        times.append(time.perf_counter() - start)
    return min(times)
