"""What this machine can run: every backend that is installed, probed in a process of its own.

A runtime that does not get on with a driver may end its process; then that is what is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context

from limbeck.backends.base import Backend
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.backends.openvino import OpenVino
from limbeck.backends.reference import Reference
from limbeck.backends.tensorrt import TensorRtRtx
from limbeck.errors import LimbeckError
from limbeck.probes.catalog import Operator, ProbedPrecision
from limbeck.probes.run import Mode, Outcome, Overflow, first_line, probe_backend, probe_overflow


@dataclass(frozen=True)
class Found:
    """What one backend can do here.

    Args:
        backend: Its name, with the settings that matter.
        outcomes: One a probe; empty if the backend cannot be used at all.
        overflow: What becomes of float16 values beyond its range; empty where the graph did not run.
        reason: Why the backend cannot be used, in the runtime's words.
    """

    backend: str
    outcomes: tuple[Outcome, ...]
    overflow: Mapping[str, Overflow]
    reason: str = ""

    def rate(self, operator: Operator, precision: ProbedPrecision) -> float | None:
        """GFLOP/s that were measured, or None."""
        for one in self.outcomes:
            if (one.operator, one.precision) == (operator, precision):
                return one.gflop_per_second
        return None


@dataclass(frozen=True)
class Workload:
    """A known network's operations for one step.

    Args:
        name: What a step is.
        matmul_gflop: In matrix products, attention's included.
        conv_gflop: In convolutions.
    """

    name: str
    matmul_gflop: float
    conv_gflop: float

    def seconds(self, found: Found, precision: ProbedPrecision) -> float | None:
        """How long a step takes at best, from the measured rates; None without them.

        Real steps take longer: norms and activations are not in it, nor attention that stays float32.
        """
        total = 0.0
        parts: tuple[tuple[Operator, float], ...] = (("matmul", self.matmul_gflop), ("conv", self.conv_gflop))
        for operator, gflop in parts:
            rate = found.rate(operator, precision)
            if gflop and rate is None:
                return None
            total += gflop / rate if rate else 0
        return total


@dataclass(frozen=True)
class Asked:
    """A backend that is to be probed, under the name to show it by."""

    name: str
    backend: Backend
    mode: Mode


def installed(*, threads: int | None = None) -> Iterator[Asked]:
    """Every backend whose package is installed."""
    yield Asked("onnxruntime", OnnxRuntime(threads=threads), "run")
    if find_spec("openvino"):
        yield Asked("openvino", OpenVino(threads=threads), "run")
        yield Asked("openvino bfloat16", OpenVino(precision="bfloat16", threads=threads), "bf16")
    if find_spec("tensorrt_rtx_bindings"):
        target, rows = "SM86", 16
        yield Asked(f"tensorrt-rtx for {target}", TensorRtRtx(targets=(target,), profiles=({"batch": rows},)), "build")
    if find_spec("torch") and find_spec("onnx"):
        yield Asked("reference", Reference(), "check")


def probe_machine(asked: Iterable[Asked]) -> Iterator[Found]:
    """Probe backends one after the other, each in a process of its own; a crash is found, not shared."""
    for one in asked:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
            try:
                yield child.submit(_probe, one).result()
            except BrokenProcessPool:
                yield Found(one.name, (), {}, "it ended the process that probed it")


def _probe(asked: Asked) -> Found:
    try:
        outcomes = tuple(probe_backend(asked.backend, asked.mode))
    except LimbeckError as error:
        return Found(asked.name, (), {}, first_line(error))
    return Found(asked.name, outcomes, _overflow(asked))


def _overflow(asked: Asked) -> Mapping[str, Overflow]:
    if asked.mode not in ("run", "check"):
        return {}
    try:
        return probe_overflow(asked.backend)
    except LimbeckError:
        return {}
