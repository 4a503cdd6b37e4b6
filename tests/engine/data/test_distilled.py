"""The distilled set on disk: written whole, never over anything, continued after a kill, and the same bytes always."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limbeck.data.distilled import DistilledWriter, read_distilled, verify_distilled
from limbeck.data.source import open_source
from limbeck.errors import ConfigError, DataError, OutputError

NAMES = ("zebra", "ant", "cat")  # not in alphabetical order, so the folders carry the label
IPC = 2
HEADER = {"method": {"name": "d4m", "ipc": IPC, "steps": (1, 2)}, "skipped": [["a.png", "truncated"]]}


def start(out: Path, *, header=HEADER, resume=False, names=NAMES, ipc=IPC) -> DistilledWriter:
    return DistilledWriter.start(out, header, class_names=names, ipc=ipc, num_units=len(names), resume=resume)


def images_of(unit: int, ipc: int = IPC) -> np.ndarray:
    return np.random.default_rng(unit).random((ipc, 3, 16, 16), dtype=np.float32)


def write_unit(writer: DistilledWriter, unit: int, ipc: int = IPC) -> None:
    rows = [{"seed": 7, "score": np.float32(0.5), "sources": [f"{unit}.png"]} for _ in range(ipc)]
    writer.write_unit(unit, images_of(unit, ipc), [unit] * ipc, rows)


def make(out: Path, units=(0, 1, 2), **options) -> Path:
    with start(out, **options) as writer:
        for unit in units:
            write_unit(writer, unit)
        return writer.finish()


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "train/metadata.jsonl").read_text().splitlines()]


# The set


def test_a_set_has_these_files(tmp_path):
    images = [f"train/{folder}/000{i}.png" for folder in ("0-zebra", "1-ant", "2-cat") for i in range(IPC)]
    others = ["README.md", "manifest.json", "preview.png", "train/metadata.jsonl"]
    assert sorted(content(make(tmp_path / "out"))) == sorted(images + others)


def test_images_are_stored_to_the_nearest_of_256_levels(tmp_path):
    with Image.open(make(tmp_path / "out") / "train/1-ant/0001.png") as stored:
        pixels = np.asarray(stored, np.float32).transpose(2, 0, 1) / 255
    assert np.abs(pixels - images_of(1)[1]).max() <= 0.5 / 255 + 1e-6


def test_each_row_says_label_class_index_and_digest(tmp_path):
    out = make(tmp_path / "out")
    row = rows_of(out)[3]
    assert row == {
        "file_name": "1-ant/0001.png",
        "label": 1,
        "class_name": "ant",
        "index": 1,
        "seed": 7,
        "score": 0.5,
        "sources": ["1.png"],
        "sha256": hashlib.sha256((out / "train/1-ant/0001.png").read_bytes()).hexdigest(),
    }


def test_the_manifest_has_the_header_and_the_digests(tmp_path):
    out = make(tmp_path / "out")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["method"] == {"name": "d4m", "ipc": IPC, "steps": [1, 2]}
    assert manifest["files"]["README.md"] == hashlib.sha256((out / "README.md").read_bytes()).hexdigest()


def test_no_file_says_where_it_was_made(tmp_path):
    assert not [name for name, data in content(make(tmp_path / "out")).items() if str(tmp_path).encode() in data]


def test_the_order_of_units_does_not_change_a_byte(tmp_path):
    (tmp_path / "other").mkdir()
    first, second = make(tmp_path / "out"), make(tmp_path / "other/out", units=(2, 0, 1))
    assert content(first) == content(second)


def test_a_unit_may_hold_every_class(tmp_path):
    with DistilledWriter.start(tmp_path / "out", {}, class_names=NAMES, ipc=1, num_units=1) as writer:
        writer.write_unit(0, images_of(0, 3), [2, 0, 1])
        out = writer.finish()
    assert [row["label"] for row in rows_of(out)] == [0, 1, 2]


def test_nothing_is_left_beside_a_finished_set(tmp_path):
    make(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]


def test_the_preview_shows_a_row_a_class(tmp_path):
    with Image.open(make(tmp_path / "out") / "preview.png") as preview:
        few = preview.size
    names = tuple(f"class {i}" for i in range(6))
    with start(tmp_path / "more", names=names) as writer:
        for unit in range(6):
            write_unit(writer, unit)
        writer.finish()
    with Image.open(tmp_path / "more/preview.png") as preview:
        assert preview.height > 1.8 * few[1]
        assert preview.width == few[0]


# What is refused


def test_a_place_that_exists_is_never_written_over(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="never writes over anything; give another --out"):
        start(tmp_path / "out")


def test_a_place_that_was_taken_meanwhile_is_not_written_over(tmp_path):
    with start(tmp_path / "out") as writer:
        for unit in range(3):
            write_unit(writer, unit)
        (tmp_path / "out").mkdir()
        with pytest.raises(OutputError, match="never writes over anything"):
            writer.finish()
    assert os.listdir(tmp_path / "out") == []


def test_an_unfinished_run_needs_resume(tmp_path):
    with start(tmp_path / "out") as writer:
        write_unit(writer, 0)
    with pytest.raises(OutputError, match=r"\.out\.partial\ncontinue it with --resume, or remove that folder"):
        start(tmp_path / "out")


def test_other_settings_are_listed_old_and_new(tmp_path):
    with start(tmp_path / "out") as writer:
        write_unit(writer, 0)
    changed = {**HEADER, "method": {"name": "d4m", "ipc": 5}}
    with pytest.raises(OutputError) as raised:
        start(tmp_path / "out", header=changed, resume=True)
    assert "  method.ipc: it was 2, now 5\n  method.steps: it was [1, 2], now not set\n" in str(raised.value)


def test_a_second_process_is_refused_at_once(tmp_path):
    script = """
import sys
from limbeck.data.distilled import DistilledWriter
from limbeck.errors import OutputError
try:
    DistilledWriter.start(sys.argv[1], {}, class_names=["a"], ipc=1, num_units=1, resume=True)
except OutputError as error:
    print(error)
"""
    with DistilledWriter.start(tmp_path / "out", {}, class_names=["a"], ipc=1, num_units=1):
        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path / "out"], capture_output=True, text=True, check=True
        )
    assert "another process is writing" in done.stdout


def test_a_header_may_not_say_what_the_manifest_says(tmp_path):
    with pytest.raises(ConfigError, match="the manifest itself says ipc"):
        start(tmp_path / "out", header={"ipc": 3})


def test_a_set_with_missing_units_is_not_finished(tmp_path):
    with start(tmp_path / "out") as writer:
        write_unit(writer, 0)
        with pytest.raises(OutputError, match="2 of 3 units are missing, the first is 1"):
            writer.finish()


@pytest.mark.parametrize(
    ("unit", "count", "class_ids", "message"),
    [
        (3, 2, [0, 0], "unit 3 is none of 3"),
        (0, 2, [0], "unit 0 has 2 images, 1 labels and 0 rows"),
        (0, 1, [0], "every class of it needs ipc=2"),
        (0, 2, [3, 3], "every class of it needs ipc=2"),
    ],
)
def test_a_unit_that_does_not_fit_is_refused(tmp_path, unit, count, class_ids, message):
    with start(tmp_path / "out") as writer, pytest.raises(OutputError, match=message):
        writer.write_unit(unit, images_of(0, count), class_ids)


def test_a_class_belongs_to_one_unit(tmp_path):
    with start(tmp_path / "out") as writer:
        writer.write_unit(0, images_of(0), [1, 1])
        with pytest.raises(OutputError, match="unit 1 has images of class 1, which another unit wrote"):
            writer.write_unit(1, images_of(1), [1, 1])


def test_pixels_that_are_not_finite_are_refused(tmp_path):
    images = images_of(0)
    images[1, 0, 0, 0] = np.nan
    with start(tmp_path / "out") as writer, pytest.raises(OutputError, match="not finite"):
        writer.write_unit(0, images, [0, 0])


# Killed and continued


def test_resume_with_nothing_there_starts_afresh(tmp_path):
    with start(tmp_path / "out", resume=True) as writer:
        assert (writer.resumed, writer.finished_units()) == (False, set())


def test_a_unit_that_is_stopped_between_two_images_leaves_nothing(tmp_path):
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        raise KeyboardInterrupt

    with start(tmp_path / "out") as writer:
        unit = writer.layout.encode(0, images_of(0), [0] * IPC, [{}] * IPC, {})
        with pytest.raises(KeyboardInterrupt):
            writer.store_unit(unit, on_image=stop)
        assert (seen, writer.finished_units()) == ([(1, IPC)], set())
        writer.store_unit(unit, on_image=lambda done, total: seen.append((done, total)))
    assert seen[1:] == [(number, IPC) for number in range(1, IPC + 1)]


def test_resume_finds_the_finished_units(tmp_path):
    with start(tmp_path / "out") as writer:
        write_unit(writer, 1)
    with start(tmp_path / "out", resume=True) as writer:
        assert (writer.resumed, writer.finished_units()) == (True, {1})


@pytest.mark.parametrize("torn", ["record lost", "image lost", "image cut short"])
def test_a_torn_unit_is_made_again(tmp_path, torn):
    with start(tmp_path / "out") as writer:
        for unit in range(3):
            write_unit(writer, unit)
    partial = tmp_path / ".out.partial"
    image = partial / "set/train/1-ant/0001.png"
    if torn == "record lost":
        (partial / "units/000001.json").unlink()
    elif torn == "image lost":
        image.unlink()
    else:
        image.write_bytes(image.read_bytes()[:100])
    with start(tmp_path / "out", resume=True) as writer:
        assert writer.finished_units() == {0, 2}
        write_unit(writer, 1)
        writer.finish()
    (tmp_path / "whole").mkdir()
    assert content(tmp_path / "out") == content(make(tmp_path / "whole/out"))


_WRITES_UNTIL_KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_distilled import start, write_unit
names = tuple(f"class {i:03}" for i in range(60))
with start(Path(sys.argv[1]), names=names, resume=True) as writer:
    for unit in sorted(set(range(60)) - writer.finished_units()):
        write_unit(writer, unit)
        print(unit, flush=True)
    writer.finish()
"""


def test_a_run_killed_again_and_again_ends_in_the_same_bytes(tmp_path):
    command = [sys.executable, "-c", _WRITES_UNTIL_KILLED]
    (tmp_path / "killed").mkdir()
    for enough in (1, 20, 15):
        child = subprocess.Popen([*command, tmp_path / "killed/out", Path(__file__).parent], stdout=subprocess.PIPE)
        with child:
            for _ in range(enough):
                assert child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
        assert not (tmp_path / "killed/out").exists()
    for place in ("killed", "never"):
        (tmp_path / place).mkdir(exist_ok=True)
        subprocess.run([*command, tmp_path / place / "out", Path(__file__).parent], check=True, capture_output=True)
    assert content(tmp_path / "killed/out") == content(tmp_path / "never/out")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_an_error_that_says_what_to_do(small_disk):
    (small_disk / "ballast").write_bytes(bytes(1_000_000))
    with start(small_disk / "out", ipc=20) as writer, pytest.raises(OutputError) as raised:
        write_unit(writer, 0, ipc=20)
    assert re.fullmatch(
        r"the disk is full: \S+\.out\.partial has [\d,]+ bytes free, this step needs 81,920\n"
        "finished units are kept; make space, and the same command with --resume continues",
        str(raised.value),
    )


def test_after_a_full_disk_was_cleared_the_run_continues(small_disk, tmp_path):
    (small_disk / "ballast").write_bytes(bytes(930_000))
    with start(small_disk / "out", ipc=20) as writer:
        write_unit(writer, 0, ipc=20)
        with pytest.raises(OutputError, match="the disk is full"):
            write_unit(writer, 1, ipc=20)
    (small_disk / "ballast").unlink()
    with start(small_disk / "out", ipc=20, resume=True) as writer:
        assert writer.finished_units() == {0}
        for unit in (1, 2):
            write_unit(writer, unit, ipc=20)
        out = writer.finish()
    with start(tmp_path / "out", ipc=20) as writer:
        for unit in range(3):
            write_unit(writer, unit, ipc=20)
        assert content(out) == content(writer.finish())


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"cannot write to .*/file: "):
        start(tmp_path / "file/out")


# Reading it back


def test_a_set_reads_back_as_a_source_with_its_labels(tmp_path):
    source = read_distilled(make(tmp_path / "out"))
    images = next(source.images(1, size=16, fit="crop", batch=IPC))
    assert source.class_names == NAMES
    assert np.abs(images - images_of(1)).max() <= 0.5 / 255 + 1e-6


def test_a_set_reads_back_with_its_rows(tmp_path):
    out = make(tmp_path / "out")
    assert list(read_distilled(out).rows(2)) == rows_of(out)[4:]


def test_a_set_is_opened_as_any_source_is(tmp_path):
    assert open_source(make(tmp_path / "out")).class_names == NAMES


def test_a_folder_without_a_manifest_is_no_distilled_set(tmp_path):
    with pytest.raises(DataError, match=r"no distilled set at .*manifest.json is not there"):
        read_distilled(tmp_path)


def test_a_manifest_of_another_format_is_refused(tmp_path):
    out = make(tmp_path / "out")
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(DataError, match="is no manifest of format 1: format: "):
        read_distilled(out)


def test_a_row_that_points_out_of_the_set_is_refused(tmp_path):
    out = make(tmp_path / "out")
    metadata = out / "train/metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("1-ant/0001.png", "1-ant/../../secret.png"))
    with pytest.raises(DataError, match=r"line 4: .* does not lie in the folder of label 1"):
        read_distilled(out)


def test_a_whole_set_is_verified_with_its_number_of_images(tmp_path):
    seen = []
    assert verify_distilled(make(tmp_path / "out"), on_image=lambda done, total: seen.append((done, total))) == 6
    assert seen == [(number, 6) for number in range(1, 7)]


def test_every_problem_is_a_line(tmp_path):
    out = make(tmp_path / "out")
    (out / "README.md").write_text("mine")
    (out / "train/0-zebra/0000.png").unlink()
    (out / "train/1-ant/0000.png").write_bytes(b"no png")
    (out / "train/2-cat/more.png").write_bytes(b"")
    with pytest.raises(DataError) as raised:
        verify_distilled(out)
    assert str(raised.value).splitlines()[1:] == [
        "  README.md: it is missing, or not what the manifest says",
        "  train/0-zebra/0000.png: it is missing",
        "  train/1-ant/0000.png: its SHA-256 is not the one in metadata.jsonl",
        "  train/1-ant/0000.png: not an image of a known format (JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM)",
        "  train/2-cat/more.png: it is not listed in metadata.jsonl",
    ]


def test_a_class_with_too_few_images_is_a_problem(tmp_path):
    out = make(tmp_path / "out")
    metadata = out / "train/metadata.jsonl"
    metadata.write_text("".join(metadata.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match=r"class 'zebra' \(label 0\) has 1 images, the manifest says ipc=2"):
        verify_distilled(out)
