"""`limbeck build`, `inspect` and `doctor` as real processes on the shipped pack."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from support.cli import limbeck

needs_export = pytest.mark.skipif(
    not (find_spec("onnx") and find_spec("onnx_ir")), reason="needs the export extra (onnx, onnx_ir)"
)


@pytest.mark.torch
@needs_export
def test_a_built_pack_says_what_was_kept(tmp_path: Path) -> None:
    out = tmp_path / "int8"
    done = limbeck("build", "mini", "--out", out, "--precision", "int8", "--role", "trunk", "--quick", "--json")
    assert done.code == 0, done.out
    (trial,) = [event for event in done.events if event["event"] == "trial"]
    assert trial["kept"]
    assert done.events[-1]["precisions"]["trunk"] == "int8"
    shown = limbeck("inspect", out)
    assert "what was tried" in shown.out
    assert "int8" in shown.out


def test_an_unknown_role_is_refused_with_the_roles_there_are(tmp_path: Path) -> None:
    done = limbeck("build", "mini", "--out", tmp_path / "x", "--role", "head", "--json")
    assert done.code == 2
    assert "unknown role 'head'; there are: conditioner, trunk" in done.error["message"]


def test_doctor_names_a_working_precision_and_what_a_step_would_take() -> None:
    done = limbeck("doctor", "--json")
    (found,) = [event for event in done.events if event["event"] == "backend" and event["backend"] == "onnxruntime"]
    works = {(one["operator"], one["precision"]) for one in found["outcomes"] if one["works"]}
    assert ("matmul", "fp32") in works
    assert any(event["event"] == "estimate" and event["seconds"] > 0 for event in done.events)
