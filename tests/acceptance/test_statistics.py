"""Another size of a set from the statistics of one that is there: real processes, the shipped pack, real photos."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.cli import Done, files_of, limbeck
from support.photos import few_photos

WALK = ("--set", "num_steps=8", "--set", "num_groups=5")


def d3hr(data: Path, out: Path, *more: str, ipc: int = 2) -> Done:
    given = ("distill", "--method", "d3hr", "--pack", "mini", "--data", data, "--ipc", str(ipc), "--out", out)
    return limbeck(*given, *WALK, *more, "--json")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight real photos of two digits."""
    return few_photos(tmp_path_factory.mktemp("photos"), each=4)


@pytest.fixture(scope="module")
def two(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of two images a class."""
    out = tmp_path_factory.mktemp("sets") / "two"
    done = d3hr(photos, out)
    assert done.code == 0, done.out + done.err
    return out


def test_a_set_of_another_size_is_the_one_that_inverting_again_would_give(
    photos: Path, two: Path, tmp_path: Path
) -> None:
    kept = f"statistics={two / 'arrays.npz'}"
    again, drawn = d3hr(photos, tmp_path / "again", ipc=3), d3hr(photos, tmp_path / "drawn", "--set", kept, ipc=3)
    assert (again.code, drawn.code) == (0, 0), again.err + drawn.err
    stages = {event["stage"] for event in drawn.events if event["event"] == "progress"}
    assert not [stage for stage in stages if "invert" in stage]
    assert [stage for stage in stages if "draw" in stage]
    pictures = files_of(tmp_path / "again/train")
    assert len(pictures) == 2 * 3 + 1
    assert files_of(tmp_path / "drawn/train") == pictures
    for name in ("again", "drawn"):
        assert (tmp_path / name / "arrays.npz").read_bytes() == (two / "arrays.npz").read_bytes()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--set", "guidance_scale=2"], "were measured with guidance_scale=4.0, not 2"),
        (["--set", "inversion_strength=0.5"], "were measured with inversion_strength=0.62, not 0.5"),
        (["--set", "sample_posterior=true"], "were measured with sample_posterior=False, not True"),
    ],
    ids=["guidance", "walk", "posterior"],
)
def test_statistics_of_another_walk_are_refused(
    photos: Path, two: Path, tmp_path: Path, changed: list[str], message: str
) -> None:
    done = d3hr(photos, tmp_path / "out", "--set", f"statistics={two / 'arrays.npz'}", *changed)
    assert done.code != 0
    assert message in done.out + done.err
    assert not (tmp_path / "out").exists()


def test_statistics_of_other_images_are_refused(photos: Path, two: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    first, last = sorted((other / "1").iterdir())[::3]
    last.write_bytes(first.read_bytes())
    done = d3hr(other, tmp_path / "out", "--set", f"statistics={two / 'arrays.npz'}")
    assert done.code != 0
    assert "are of other images than these; leave statistics out" in done.out + done.err


@pytest.mark.parametrize("place", ["nowhere/arrays.npz", "."])
def test_what_has_no_statistics_is_refused(photos: Path, tmp_path: Path, place: str) -> None:
    done = d3hr(photos, tmp_path / "out", "--set", f"statistics={tmp_path / place}")
    assert done.code != 0
    assert "is no arrays.npz of a set that d3hr made" in done.out + done.err
