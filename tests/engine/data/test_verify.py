"""A set that was tampered with is told from the one that was written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from limbeck.data.distilled import DistilledWriter, verify_distilled
from limbeck.errors import DataError


@pytest.fixture
def out(tmp_path: Path) -> Path:
    with DistilledWriter.start(tmp_path / "out", {}, class_names=("ant", "cat"), ipc=1, num_units=2) as writer:
        for unit in range(2):
            writer.write_unit(unit, np.full((1, 3, 8, 8), 0.5, np.float32), [unit])
        return writer.finish()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {}}, "files must be train/metadata.jsonl, README.md, preview.png; they are none"),
        ({"files": {"../secret": "0"}}, "they are ../secret"),
        ({"class_names": ["ant"]}, "1 class names and 2 class folders"),
        ({"class_folders": ["ant", "ant"]}, "two classes have the same folder"),
        ({"class_folders": ["..", "cat"]}, "class folder '..' is no plain folder name"),
        ({"class_folders": ["/etc", "cat"]}, "class folder '/etc' is no plain folder name"),
        ({"ipc": 0}, "ipc: "),
        ({"ipc": True}, "ipc: "),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(out, change, message):
    manifest = json.loads((out / "manifest.json").read_bytes())
    (out / "manifest.json").write_text(json.dumps({**manifest, **change}), encoding="utf-8")
    with pytest.raises(DataError, match="is no manifest of format 1") as raised:
        verify_distilled(out)
    assert message in str(raised.value)


@pytest.mark.parametrize("label", [True, -1, 2, 1.0, "1"])
def test_a_label_that_is_none_is_refused(out, label):
    path = out / "train/metadata.jsonl"
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    path.write_text("".join(f"{json.dumps({**row, 'label': label})}\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"line 1: label .* is none of the 2 classes"):
        verify_distilled(out)


def test_a_row_that_is_there_twice_is_refused(out):
    path = out / "train/metadata.jsonl"
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataError, match=r"line 3: 'ant/0000\.png' is listed twice"):
        verify_distilled(out)


@pytest.mark.parametrize("name", ["mine.txt", "train/mine.txt", "train/ant/mine.png", "mine/", "train/mine/"])
def test_what_is_not_listed_is_a_problem(out, name):
    (out / name).mkdir() if name.endswith("/") else (out / name).write_bytes(b"")
    with pytest.raises(DataError, match=rf"1 problem\(s\):\n  {name.rstrip('/')}: it is not listed"):
        verify_distilled(out)


@pytest.mark.parametrize("name", ["README.md", "manifest.json", "train", "train/metadata.jsonl", "train/ant"])
def test_a_link_is_a_problem_though_its_content_is_right(out, tmp_path, name):
    (out / name).rename(tmp_path / "elsewhere")
    (out / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=rf"  {name}: it is a link"):
        verify_distilled(out)
