"""What a killed run leaves behind: what is whole is continued, what is torn made again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from limbeck.data.distilled import DistilledWriter
from limbeck.data.partial import refuse_taken
from limbeck.errors import OutputError


def start(out: Path, *, setting: int = 0, resume: bool = False) -> DistilledWriter:
    header = {"setting": setting}
    return DistilledWriter.start(out, header, class_names=("ant", "cat"), ipc=2, num_units=2, resume=resume)


def write(writer: DistilledWriter, *units: int) -> None:
    for unit in units:
        writer.write_unit(unit, np.full((2, 3, 8, 8), 0.5, np.float32), [unit] * 2)


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    """The partial folder of `<tmp_path>/out`, both units finished."""
    with start(tmp_path / "out") as writer:
        write(writer, 0, 1)
    return tmp_path / ".out.partial"


@pytest.mark.parametrize("content", [b"", b"junk", b"[]", b"\xff", None])
def test_a_damaged_header_is_refused(tmp_path, partial, content):
    (partial / "header.json").unlink()
    if content is not None:
        (partial / "header.json").write_bytes(content)
    with pytest.raises(OutputError, match=r"header\.json is damaged: (?s:.*)remove .*\.out\.partial to start again"):
        start(tmp_path / "out", resume=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: "",
        lambda record: "{}",
        lambda record: [],
        lambda record: {**record, "unit": 0},
        lambda record: {**record, "rows": []},
        lambda record: {**record, "rows": [1]},
        lambda record: {**record, "rows": [{**record["rows"][0], "label": 7}]},
        lambda record: {**record, "rows": [{**record["rows"][0], "file_name": "../../header.json"}]},
        lambda record: {**record, "rows": [{"file_name": record["rows"][0]["file_name"]}]},
    ],
)
def test_a_damaged_record_counts_as_torn(tmp_path, partial, change):
    record = partial / "units/000001.json"
    changed = change(json.loads(record.read_bytes()))
    record.write_text(changed if isinstance(changed, str) else json.dumps(changed), encoding="utf-8")
    with start(tmp_path / "out", resume=True) as writer:
        assert (writer.finished_units(), record.exists()) == ({0}, False)
        write(writer, 1)
        writer.finish()


def test_a_record_that_lost_a_row_is_not_finished(tmp_path, partial):
    record = partial / "units/000001.json"
    content = json.loads(record.read_bytes())
    record.write_text(json.dumps({**content, "rows": content["rows"][:1]}), encoding="utf-8")
    with (
        start(tmp_path / "out", resume=True) as writer,
        pytest.raises(OutputError, match=r"class 'cat' \(label 1\) has 1 images, not ipc=2"),
    ):
        writer.finish()


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("header", [None, b"junk"])
def test_a_partial_folder_without_a_finished_unit_starts_afresh(tmp_path, resume, header):
    start(tmp_path / "out").close()
    (tmp_path / ".out.partial/staging").mkdir()
    if header is not None:
        (tmp_path / ".out.partial/header.json").write_bytes(header)
    refuse_taken(tmp_path / "out", resume=resume)
    with start(tmp_path / "out", setting=1, resume=resume) as writer:
        write(writer, 0, 1)
        out = writer.finish()
    assert json.loads((out / "manifest.json").read_bytes())["setting"] == 1


def test_a_partial_folder_with_a_foreign_file_is_kept(tmp_path):
    start(tmp_path / "out").close()
    (tmp_path / ".out.partial/mine").write_bytes(b"")
    with pytest.raises(OutputError, match="was not finished"):
        start(tmp_path / "out")


def test_a_run_killed_while_it_tidied_up_is_finished(tmp_path, partial):
    with start(tmp_path / "out", resume=True) as writer:
        out = writer.finish()
    (partial / "units").mkdir(parents=True)
    (partial / "lock").write_bytes(b"")
    with pytest.raises(OutputError, match="exists: the set is finished and whole"):
        refuse_taken(out, resume=True)
    assert (partial.exists(), out.exists()) == (False, True)


def test_a_link_to_nowhere_is_a_place_that_is_taken(tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="never writes over anything"):
        refuse_taken(tmp_path / "out", resume=False)


def test_a_name_that_is_too_long_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="File name too long"):
        refuse_taken(tmp_path / ("x" * 300), resume=False)
