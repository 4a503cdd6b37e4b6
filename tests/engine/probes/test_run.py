from __future__ import annotations

from importlib.util import find_spec

import pytest

from limbeck.backends.null import Null
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.backends.reference import Reference
from limbeck.probes.catalog import probes
from limbeck.probes.run import probe_overflow, run_probe


def test_a_backend_that_computes_nothing_does_not_work() -> None:
    found = run_probe(probes()[0], Null())
    assert not found.works
    assert "relative error" in found.reason


def test_a_rate_is_only_given_where_the_answer_is_right() -> None:
    assert run_probe(probes()[0], Null()).gflop_per_second is None
    rate = run_probe(probes()[0], OnnxRuntime()).gflop_per_second
    assert rate is not None
    assert rate > 0


@pytest.mark.torch
@pytest.mark.skipif(not (find_spec("torch") and find_spec("onnx")), reason="needs the reference extra")
def test_float16_of_torch_overflows() -> None:
    assert probe_overflow(Reference())["result"] == "inf"


def test_float16_beyond_its_range_is_never_a_finite_wrong_number_in_onnx_runtime() -> None:
    assert "wrong" not in probe_overflow(OnnxRuntime()).values()
