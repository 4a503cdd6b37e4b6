"""A step cache from the build that has it judged to the images that it makes, as real processes on the shipped pack."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limbeck.pack import Pack
from support.cli import Done, limbeck, start, wait_for
from support.photos import few_photos

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(
        not (find_spec("onnx") and find_spec("onnx_ir")), reason="needs the export extra (onnx, onnx_ir)"
    ),
]

ON = ("--step-cache", "every=2")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real photos of each of two digits."""
    return few_photos(tmp_path_factory.mktemp("photos"), digits="07", each=2)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped pack, cut, with a step cache that the quality gate accepted."""
    out = tmp_path_factory.mktemp("packs") / "cut"
    asked = ("--precision", "fp32", "--bucket", "4", "--quick", "--step-cache", "every=2,order=1", "--json")
    done = limbeck("build", "mini", "--out", out, *asked)
    assert done.code == 0, done.out + done.err
    (trial,) = [event for event in done.events if event["event"] == "trial"]
    assert (trial["role"], trial["kept"]) == ("shallow", True), trial["reason"]
    return out


def arguments(pack: Path | str, photos: Path, out: Path, *more: str) -> list[str | Path]:
    settings = ["--set", "num_steps=25", "--set", "strength=1", "--bucket", "2", "--json"]
    return ["distill", "--pack", pack, "--data", photos, "--out", out, *settings, *more]


def distilled(pack: Path, photos: Path, out: Path, *more: str) -> Path:
    done = limbeck(*arguments(pack, photos, out, *more))
    assert done.code == 0, done.out + done.err
    return out


def pixels(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path), np.float32) for path in sorted((folder / "train").rglob("*.png"))])


@pytest.fixture(scope="module")
def with_cache(pack: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Distilled with the step cache, within a budget."""
    return distilled(pack, photos, tmp_path_factory.mktemp("on") / "out", *ON, "--budget", "1GiB")


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def test_images_with_the_cache_are_near_those_without_and_not_the_same(
    with_cache: Path, pack: Path, photos: Path, tmp_path: Path
) -> None:
    without = pixels(distilled(pack, photos, tmp_path / "off"))
    other = pixels(distilled(pack, photos, tmp_path / "seed", "--seed", "1"))
    moved = np.abs(pixels(with_cache) - without).mean()
    assert 0 < moved < 0.5 * np.abs(other - without).mean()


def test_the_manifest_names_the_cache_and_the_engine_of_the_shallow_graph(with_cache: Path) -> None:
    found = manifest(with_cache)
    assert found["step_cache"] == {"every": 2, "order": 1}
    assert "shallow" in found["engines"]


def test_the_plan_loads_the_shallow_graph_with_the_trunk(with_cache: Path) -> None:
    predicted = manifest(with_cache)["memory"]["predicted"]
    (group,) = [group for group in predicted["groups"] if "trunk" in group]
    assert "shallow" in group


def refused(done: Done, message: str) -> None:
    assert done.code == 2, done.out + done.err
    assert message in done.error["message"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((*ON, "--set", "num_steps=24"), "at least 25 steps, this one has 24"),
        (("--step-cache", "every=3"), "it was not tried\nturn the step cache off, take --step-cache every=2,order=1"),
        (("--step-cache", "often"), "'often' is no step cache; give every=N"),
    ],
    ids=["too few steps", "another setting", "no setting"],
)
def test_a_cache_that_may_not_run_is_refused_with_what_would_work(
    pack: Path, photos: Path, tmp_path: Path, more: Sequence[str], message: str
) -> None:
    refused(limbeck(*arguments(pack, photos, tmp_path / "out", *more)), message)


def test_a_pack_whose_cache_was_not_judged_runs_without_one_only(photos: Path, tmp_path: Path) -> None:
    refused(limbeck(*arguments("mini", photos, tmp_path / "out", *ON)), "has not accepted every=2,order=1")


def test_a_run_is_not_continued_with_another_cache(pack: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(*arguments(pack, photos, out, *ON, "--bucket", "1"))
    wait_for(process, [("event", "progress"), ("stage", "denoise"), ("done", 27)])  # a class is finished
    process.kill()
    process.communicate()
    done = limbeck(*arguments(pack, photos, out, "--resume", "--bucket", "1"))
    assert done.code == 7
    assert "step_cache" in done.error["message"]


def test_inspect_says_what_became_of_the_cache(pack: Path) -> None:
    assert "step cache every=2,order=1 at fp32 kept" in limbeck("inspect", pack).out


def test_the_trial_in_the_pack_is_the_one_that_was_reported(pack: Path) -> None:
    (trial,) = Pack.open(pack).manifest.trials
    assert trial.figures["walk_error"] < trial.limits["walk_error"]
