from __future__ import annotations

from importlib.util import find_spec

import pytest

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.probes.catalog import TOLERANCES, probes
from limbeck.probes.run import run_probe


@pytest.mark.skipif(not find_spec("onnx"), reason="needs the export extra (onnx)")
@pytest.mark.torch
def test_the_shipped_graphs_are_those_that_the_tool_writes() -> None:
    from tools.probe_graphs import FOLDER, graphs

    assert {path.name: path.read_bytes() for path in FOLDER.iterdir()} == dict(graphs())


@pytest.mark.parametrize("probe", probes(), ids=lambda probe: f"{probe.operator} {probe.precision}")
def test_onnx_runtime_agrees_with_float64_or_says_why_it_cannot(probe) -> None:
    found = run_probe(probe, OnnxRuntime(), timed=False)
    if probe.precision == "bf16" and not found.works:
        assert "NOT_IMPLEMENTED" in found.reason or "INVALID_GRAPH" in found.reason
    else:
        assert found.works, found.reason
        assert found.error <= TOLERANCES[probe.precision]


@pytest.mark.parametrize("operator", ["matmul", "conv"])
def test_a_lower_precision_is_less_exact(operator: str) -> None:
    errors = {
        probe.precision: run_probe(probe, OnnxRuntime(), timed=False).error
        for probe in probes()
        if probe.operator == operator and probe.precision in ("fp32", "int8")
    }
    assert errors["fp32"] < errors["int8"]
