"""Plans of the shipped pack, made in side processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")
pytest.importorskip("onnxruntime", reason="the ort extra is not installed")

from limbeck.pack import shipped_packs
from limbeck_server.side.runner import run_side
from limbeck_server.wire.refusal import RefusedError
from support.serving import run
from support.uploads import pictures, write_files

NAME = "datasets/0123456789abcdef0123456789abcdef"


def asked(folder: Path, **spec: Any) -> dict[str, Any]:
    write_files(folder, pictures("0", "1"))
    return {
        "spec": {"method": "d4m", "settings": {"num_steps": 4}, "dataset": NAME, **spec},
        "packs": {name: str(path) for name, path in shipped_packs().items()},
        "resources": {NAME: str(folder)},
        "backend": {"onnxruntime": {"threads": 1}},
        "max_pixels": 10**6,
        "budget_nbytes": None,
    }


def test_a_plan_says_what_the_job_takes(tmp_path: Path) -> None:
    plan = run(run_side("plan", asked(tmp_path), silence_seconds=60))
    assert plan["peak_nbytes"] > 2**20
    assert plan["disk_nbytes"] > 0


def test_a_budget_that_nothing_fits_comes_back_with_its_figures(tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as raised:
        run(run_side("plan", asked(tmp_path, budget_nbytes=100 * 2**20), silence_seconds=60))
    refusal = raised.value.refusal
    assert refusal.reason == "BUDGET_TOO_SMALL"
    assert int(refusal.metadata["needed_nbytes"]) > int(refusal.metadata["budget_nbytes"]) == 100 * 2**20
