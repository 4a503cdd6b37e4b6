"""Selections as people meet them: real processes, the shipped pack, real photos; only what is needed is opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from limbeck.data.imagefolder import ImageFolder
from limbeck.data.source import open_source
from support.cli import files_of, limbeck
from support.photos import few_photos


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six real photos of two digits."""
    return few_photos(tmp_path_factory.mktemp("photos"), each=6)


@pytest.mark.parametrize(("method", "engines"), [("random", []), ("kcenter", ["backbone"])])
def test_a_set_of_real_images_is_made_with_no_more_than_the_networks_it_needs(
    photos: Path, tmp_path: Path, method: str, engines: list[str]
) -> None:
    out = tmp_path / "distilled"
    done = limbeck(
        "distill", "--method", method, "--pack", "mini", "--data", photos, "--ipc", "2", "--out", out, "--json"
    )
    assert done.code == 0, done.out + done.err
    assert sorted(json.loads((out / "manifest.json").read_text())["engines"]) == engines
    rows = [json.loads(line) for line in (out / "train/metadata.jsonl").read_text().splitlines()]
    assert [row["source_image"].split("/")[0] for row in rows] == ["0", "0", "1", "1"]
    real = ImageFolder(photos)
    kept = open_source(out)
    for class_id in range(2):
        images = next(real.images(class_id, size=64, fit="crop", batch=6))
        by_name = dict(zip(real.names(class_id), images, strict=True))
        chosen = [by_name[row["source_image"]] for row in rows if row["label"] == class_id]
        stored = next(kept.images(class_id, size=64, fit="crop", batch=2))
        assert abs(stored - chosen).max() <= 0.5 / 255 + 1e-6  # type: ignore[operator]


@pytest.mark.parametrize("method", ["random", "herding"])
def test_a_plan_has_the_engines_that_are_needed(photos: Path, method: str) -> None:
    done = limbeck("plan", "--method", method, "--pack", "mini", "--data", photos, "--ipc", "2", "--json")
    assert done.code == 0, done.out
    plan = done.events[-1]
    assert sorted(plan["stages"]) == ([] if method == "random" else ["backbone"])
    assert plan["peak_nbytes"] == sum(plan["parts"].values())


@pytest.mark.parametrize(("method", "more"), [("random", ()), ("herding", ("--bucket", "4"))])
def test_a_budget_holds_and_changes_no_choice(photos: Path, tmp_path: Path, method: str, more: tuple[str, ...]) -> None:
    arguments = ["distill", "--method", method, "--pack", "mini", "--data", photos, *more, "--json"]
    free, bound = tmp_path / "free", tmp_path / "bound"
    assert limbeck(*arguments, "--out", free).code == 0
    done = limbeck(*arguments, "--out", bound, "--budget", "500MiB")
    assert done.code == 0, done.out
    memory = json.loads((bound / "manifest.json").read_text())["memory"]
    assert memory["measured"]["peak_nbytes"] <= 500 * 2**20
    pictures = [{name: data for name, data in files_of(out).items() if name.endswith(".png")} for out in (free, bound)]
    assert pictures[0] == pictures[1]
