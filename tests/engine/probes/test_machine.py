from __future__ import annotations

import pytest

from limbeck.backends.null import Null
from limbeck.probes.machine import Asked, Found, Workload, probe_machine
from limbeck.probes.run import Outcome
from limbeck.probes.words import estimates, summary
from support.broken import EndsItsProcess

FAST = Found("fast", (Outcome("matmul", "int8", True, error=0.01, gflop_per_second=1000.0),), {})
BOTH = Found(
    "both",
    (
        Outcome("matmul", "fp32", True, error=0.0, gflop_per_second=100.0),
        Outcome("conv", "fp32", True, error=0.0, gflop_per_second=50.0),
    ),
    {"result": "float32 inside", "partial sum": "float32 inside"},
)


def test_a_runtime_that_ends_its_process_is_found_and_the_next_is_probed() -> None:
    crash, after = probe_machine([Asked("crash", EndsItsProcess(), "check"), Asked("null", Null(), "check")])
    assert crash.reason == "it ended the process that probed it"
    assert after.outcomes


def test_the_time_of_a_step_adds_up_over_operators() -> None:
    assert Workload("step", matmul_gflop=200, conv_gflop=100).seconds(BOTH, "fp32") == pytest.approx(2 + 2)


def test_there_is_no_time_without_the_rate_of_an_operator_that_it_needs() -> None:
    assert Workload("step", matmul_gflop=200, conv_gflop=100).seconds(FAST, "int8") is None


def test_an_operator_that_is_not_used_needs_no_rate() -> None:
    assert Workload("step", matmul_gflop=200, conv_gflop=0).seconds(FAST, "int8") == pytest.approx(0.2)


def test_the_fastest_backend_and_precision_is_named() -> None:
    (dit, *_) = estimates([BOTH, FAST])
    assert dit[1:3] == ("fast", "int8")


def test_a_precision_that_does_not_work_is_told_with_the_runtimes_reason() -> None:
    refused = Found("old", (Outcome("matmul", "bf16", False, "NOT_IMPLEMENTED"),), {})
    assert list(summary(refused)) == [
        "old: works in no precision (engines were built; there is no device to run them)",
        "  not in bf16 (matmul): NOT_IMPLEMENTED",
    ]


def test_float16_that_is_computed_in_float32_is_told() -> None:
    assert any("computed in float32 inside" in line for line in summary(BOTH))


def test_a_backend_that_cannot_be_used_is_told_with_its_reason() -> None:
    assert list(summary(Found("gone", (), {}, "no library"))) == ["gone: cannot be used: no library"]
