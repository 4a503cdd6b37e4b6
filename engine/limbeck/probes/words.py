"""What the probes mean, in plain words, and what to install for more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import get_args

from limbeck.probes.catalog import Operator, ProbedPrecision
from limbeck.probes.machine import Found, Workload
from limbeck.probes.run import Outcome

WORKLOADS = (
    Workload("DiT-XL/2 at 256 px, one guided step (2 rows)", matmul_gflop=474.6, conv_gflop=0.0),
    Workload("Stable Diffusion 1.5 at 512 px, one guided step (2 rows)", matmul_gflop=718.7, conv_gflop=887.9),
    Workload("Stable Diffusion's VAE, one 256 px image decoded", matmul_gflop=4.3, conv_gflop=617.9),
)
"""Counted by torch's FlopCounterMode on diffusers' networks."""

_LONGEST_REASON = 240

_EXTRAS: Mapping[str, tuple[str, str]] = {
    "openvino": ("openvino", "bf16 and calibrated int8 on the CPU"),
    "tensorrt_rtx_bindings": ("tensorrt-rtx", "engines for RTX GPUs, built ahead of time even without one"),
    "onnx_ir": ("export", "limbeck export and limbeck build: networks to graphs, graphs to other precisions"),
    "tokenizers": ("text", "prompts, for networks that are conditioned on text"),
    "pyarrow": ("parquet", "data in parquet files"),
    "timm": ("timm", "export of timm's backbones"),
}


def summary(found: Found) -> Iterator[str]:
    """Sentences about one backend: which precisions work, which do not and why, and how fast the fastest is."""
    if found.reason:
        yield f"{found.backend}: cannot be used: {found.reason}"
        return
    by_precision = {
        precision: [one for one in found.outcomes if one.precision == precision]
        for precision in get_args(ProbedPrecision)
    }
    working = [name for name, outcomes in by_precision.items() if outcomes and all(one.works for one in outcomes)]
    yield f"{found.backend}: works in {', '.join(working) or 'no precision'}{_only_built(found.outcomes)}"
    for name, outcomes in by_precision.items():
        refused = [one for one in outcomes if not one.works]
        if refused:
            yield f"  not in {name} ({', '.join(one.operator for one in refused)}): {_short(refused[0].reason)}"
    yield from _about_rates(found)
    yield from _about_overflow(found)


def estimates(found: Sequence[Found]) -> Iterator[tuple[Workload, str, ProbedPrecision, float]]:
    """For each workload the backend and precision that would be fastest here, and its seconds at best."""
    for workload in WORKLOADS:
        possible = [
            (seconds, one.backend, precision)
            for one in found
            for precision in get_args(ProbedPrecision)
            if (seconds := workload.seconds(one, precision)) is not None
        ]
        if possible:
            seconds, backend, precision = min(possible)
            yield workload, backend, precision, seconds


def hints() -> Iterator[str]:
    """What is not installed, what it would give, and how to have it."""
    for module, (extra, gives) in _EXTRAS.items():
        if find_spec(module) is None:
            yield f"for {gives}: pip install 'limbeck[{extra}]'"


def _only_built(outcomes: Sequence[Outcome]) -> str:
    ran = any(one.error is not None for one in outcomes)
    return "" if ran else " (engines were built; there is no device to run them)"


def _short(reason: str) -> str:
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"


def _about_rates(found: Found) -> Iterator[str]:
    operators: tuple[Operator, ...] = ("matmul", "conv")
    for operator in operators:
        rates = {
            precision: rate
            for precision in get_args(ProbedPrecision)
            if (rate := found.rate(operator, precision)) is not None
        }
        if rates:
            shown = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
            yield f"  {operator}, GFLOP/s: {shown}"


def _about_overflow(found: Found) -> Iterator[str]:
    if not found.overflow:
        return
    if "wrong" in found.overflow.values():
        yield "  float16: values beyond 65,504 give finite wrong numbers; do not use fp16 here"
    elif found.overflow["result"] == "float32 inside":
        yield "  float16 graphs are computed in float32 inside: nothing overflows, and nothing is gained but disk"
    else:
        inside = "are summed in float32" if found.overflow["partial sum"] == "float32 inside" else "overflow as well"
        yield f"  float16: values beyond 65,504 become inf, as they must; partial sums {inside}"
