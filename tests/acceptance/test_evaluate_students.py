"""`limbeck evaluate --protocol` as a real process on the shipped pack."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.cli import limbeck

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

PHOTOS = Path(__file__).parents[2] / "examples/data/sign_digits"
SMALL = ("--width", "8", "--seeds", "1", "--epochs", "2", "--image-size", "32", "--threads", "1", "--json")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos of each class, as a folder: any folder of images may be evaluated."""
    folder = tmp_path_factory.mktemp("photos") / "set"
    for digit in sorted((PHOTOS / "train").iterdir()):
        if not digit.is_dir():
            continue
        (folder / digit.name).mkdir(parents=True)
        for photo in sorted(digit.iterdir())[:2]:
            (folder / digit.name / photo.name).write_bytes(photo.read_bytes())
    return folder


def test_hard_labels_with_a_report(photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = limbeck("evaluate", photos, "--protocol", "hard", "--test", photos, "--report", page, *SMALL)
    assert done.code == 0, done.out + done.err
    found = done.events[-1]
    assert (found["event"], found["protocol"], found["image_size"]) == ("evaluation", "hard", 32)
    assert found["results"][0]["overrides"]["epochs"] == {"published": 2000, "used": 2}
    assert 0 <= found["results"][0]["last"]["mean"] <= found["results"][0]["best"]["mean"] <= 1
    assert page.read_text().startswith("<!doctype html>")


def test_stored_labels_are_made_once_and_read_again(photos: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.npz"
    common = ("evaluate", photos, "--test", photos, "--protocol", "fkd", "--labels", labels, *SMALL)
    first = limbeck(*common, "--train", photos)
    assert first.code == 0, first.out + first.err
    again = limbeck(*common)
    assert again.code == 0, again.out + again.err
    runs = [json.dumps(done.events[-1]["results"][0]["runs"][0]["curve"]) for done in (first, again)]
    assert runs[0] == runs[1]
