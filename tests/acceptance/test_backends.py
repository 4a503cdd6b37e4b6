"""`--backend` and `--backend-set` as people meet them: real processes on the shipped pack."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.cli import ENVIRONMENT, Done, limbeck

PHOTOS = Path(__file__).parents[2] / "examples/data/sign_digits/test"

needs_openvino = pytest.mark.skipif(not find_spec("openvino"), reason="needs the openvino extra")
needs_rtx = pytest.mark.skipif(
    not (find_spec("tensorrt_rtx_bindings") and find_spec("onnx_ir")),
    reason="needs the tensorrt-rtx and export extras",
)


def doctor(*options: str) -> Done:
    return limbeck("doctor", "--pack-only", "--json", *options)


@needs_openvino
def test_a_setting_of_the_backend_reaches_it() -> None:
    done = doctor("--backend", "openvino", "--backend-set", "precision=bfloat16")
    assert done.events[-1]["passed"], done.out


def test_an_unknown_setting_is_refused_with_those_there_are() -> None:
    done = doctor("--backend", "openvino", "--backend-set", "precison=bfloat16")
    assert done.code == 2
    assert "no setting 'precison'; did you mean 'precision'? it has precision, threads" in done.error["message"]


def test_a_value_that_does_not_fit_is_refused_with_what_does() -> None:
    done = doctor("--backend", "openvino", "--backend-set", "precision=int8")
    assert done.code == 2
    assert "'float32' or 'bfloat16', got 'int8'" in done.error["message"]


def test_threads_are_refused_by_a_backend_without_them() -> None:
    done = doctor("--backend", "reference", "--threads", "2")
    assert done.code == 2
    assert "the reference backend has no setting 'threads'" in done.error["message"]


@needs_openvino
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits private memory")
def test_openvino_takes_what_was_predicted_within_a_tenth_and_no_more_than_the_budget(tmp_path: Path) -> None:
    for folder in sorted(PHOTOS.iterdir())[:2]:
        (tmp_path / "photos" / folder.name).mkdir(parents=True)
        for photo in sorted(folder.iterdir())[:4]:
            shutil.copy(photo, tmp_path / "photos" / folder.name)
    done = limbeck(
        *("distill", "--data", tmp_path / "photos", "--out", tmp_path / "out", "--set", "num_steps=4", "--json"),
        *("--backend", "openvino", "--threads", "2", "--budget", "1GiB"),
        environment={**ENVIRONMENT, "LIMBECK_CACHE": str(tmp_path / "cache")},
    )
    assert done.code == 0, done.out + done.err
    memory = json.loads((tmp_path / "out/manifest.json").read_text())["memory"]
    assert memory["measured"]["peak_nbytes"] <= 2**30
    assert memory["measured"]["peak_nbytes"] == pytest.approx(memory["predicted"]["peak_nbytes"], rel=0.1)


@needs_rtx
@pytest.mark.torch
def test_engines_for_absent_gpus_are_built_and_noted_as_not_measured(tmp_path: Path) -> None:
    done = limbeck(
        *("build", "mini", "--out", tmp_path / "out", "--role", "conditioner", "--precision", "fp32", "--json"),
        *("--ahead-of-time", "--backend", "tensorrt-rtx", "--backend-set", "targets=SM86,SM89"),
        environment={**ENVIRONMENT, "LIMBECK_CACHE": str(tmp_path / "cache")},
    )
    assert done.code == 0, done.out + done.err
    (trial,) = [event for event in done.events if event["event"] == "trial"]
    assert trial["reason"].startswith("not measured, which needs the device")


@pytest.mark.torch
@needs_rtx
def test_what_only_runs_on_a_gpu_says_at_once_what_can_be_done_without(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = limbeck(
        "build", "mini", "--out", out, "--backend", "tensorrt-rtx", "--backend-set", "targets=SM86", "--json"
    )
    if done.code == 0:
        pytest.skip("there is a GPU")
    assert "--ahead-of-time" in done.error["message"]


@pytest.mark.torch
@needs_rtx
def test_a_backend_that_builds_nothing_ahead_of_time_is_refused_with_one_that_does(tmp_path: Path) -> None:
    done = limbeck("build", "mini", "--out", tmp_path / "out", "--ahead-of-time", "--json")
    assert done.code == 2
    assert "--backend tensorrt-rtx --backend-set targets=SM86,SM89" in done.error["message"]


@needs_openvino
def test_one_graph_runs_on_a_backend_of_its_own_and_the_manifest_says_so(tmp_path: Path) -> None:
    folder = sorted(PHOTOS.iterdir())[0]
    (tmp_path / "photos" / folder.name).mkdir(parents=True)
    for photo in sorted(folder.iterdir())[:4]:
        shutil.copy(photo, tmp_path / "photos" / folder.name)
    done = limbeck(
        *("distill", "--data", tmp_path / "photos", "--out", tmp_path / "out", "--set", "num_steps=4", "--json"),
        *("--role-backend", "decoder=openvino:precision=bfloat16", "--bucket", "1"),
    )
    assert done.code == 0, done.out
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["backend"]["name"] == "onnxruntime"
    assert manifest["role_backends"]["decoder"]["name"] == "openvino"


@pytest.mark.parametrize("text", ["decoder", "decodr=openvino", "decoder=openvno"])
def test_a_role_backend_that_is_none_is_refused_with_roles_and_backends(text: str, tmp_path: Path) -> None:
    done = limbeck("distill", "--data", PHOTOS, "--out", tmp_path / "out", "--json", "--role-backend", text)
    assert done.code == 2
    assert "roles are conditioner, trunk" in done.error["message"]
    assert "backends onnxruntime, openvino" in done.error["message"]
