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


def test_real_images_that_nothing_is_trained_on_are_not_read(photos: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    for digit in sorted(photos.iterdir()):
        (real / digit.name).mkdir(parents=True)
        (real / digit.name / "1.jpg").write_bytes(b"no image")
    common = ("evaluate", photos, "--protocol", "hard", "--test", photos, "--train", real, *SMALL)
    assert limbeck(*common).code == 0
    compared = limbeck(*common, "--baseline", "random")
    assert "0/1.jpg: not an image" in compared.error["message"]


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        (("--report", "{here}/mine.html"), 7, "mine.html exists; move it away, or give another --report"),
        (("--report", "{here}/missing/page.html"), 7, "missing is no folder that can be written to"),
        (("--device", "nonsense"), 2, "torch cannot compute on 'nonsense'"),
        (("--device", "cuda:97"), 2, "torch cannot compute on 'cuda:97'"),
        (("--test", "{here}/other"), 3, "label 9 is '9' in"),
    ],
    ids=["report that exists", "folder that does not", "no device", "no such card", "other classes"],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    photos: Path, tmp_path: Path, changed: tuple[str, str], code: int, message: str
) -> None:
    (tmp_path / "mine.html").write_text("mine")
    for label in [*range(9), "ten"]:
        folder = tmp_path / "other" / str(label)
        folder.mkdir(parents=True)
        (folder / "1.jpg").write_bytes(b"nobody reads this")
    option, value = changed
    given = {"--protocol": "hard", "--test": str(photos), option: value.format(here=tmp_path)}
    done = limbeck("evaluate", photos, *(part for pair in given.items() for part in pair), *SMALL)
    assert (done.code, [event["event"] for event in done.events]) == (code, ["error"]), done.out + done.err
    assert message in done.error["message"]
    assert (tmp_path / "mine.html").read_text() == "mine"
