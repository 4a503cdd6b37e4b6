"""`limbeck distill` as people meet it: real processes, the shipped pack, real photos, kill -9, Ctrl-C, bad input."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from support.cli import files_of, limbeck, start, wait_for

PHOTOS = Path(__file__).parents[2] / "examples/data/sign_digits/test"


@pytest.fixture(scope="session")
def few_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six real photos of each of the ten digits."""
    root = tmp_path_factory.mktemp("photos")
    for folder in sorted(PHOTOS.iterdir()):
        (root / folder.name).mkdir()
        for photo in sorted(folder.iterdir())[:6]:
            shutil.copy(photo, root / folder.name)
    return root


def arguments(data: Path, out: Path, *more: str) -> list[str | Path]:
    settings = ["--ipc", "2", "--bucket", "4", "--set", "num_steps=8", "--json"]
    return ["distill", "--data", data, "--out", out, *settings, *more]


@pytest.fixture(scope="session")
def undisturbed(few_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A distilled set whose run was never disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "distilled"
    done = limbeck(*arguments(few_photos, out))
    assert done.code == 0, done.out + done.err
    return out


def test_the_result_is_an_imagefolder_with_manifest_card_and_preview(undisturbed: Path) -> None:
    assert sorted(path.name for path in undisturbed.iterdir()) == ["README.md", "manifest.json", "preview.png", "train"]
    assert sorted(p.name for p in (undisturbed / "train").iterdir() if p.is_dir()) == [str(d) for d in range(10)]
    rows = [json.loads(line) for line in (undisturbed / "train/metadata.jsonl").read_text().splitlines()]
    assert len(rows) == 20
    for row in rows:
        with Image.open(undisturbed / "train" / row["file_name"]) as image:
            assert image.size == (64, 64)


def test_verify_finds_the_result_whole_and_then_a_changed_byte(undisturbed: Path, tmp_path: Path) -> None:
    assert limbeck("verify", undisturbed).code == 0
    copy = tmp_path / "copy"
    shutil.copytree(undisturbed, copy)
    image = next((copy / "train/3").glob("*.png"))
    image.write_bytes(image.read_bytes()[:-20])
    done = limbeck("verify", copy, "--json")
    assert done.code != 0
    assert image.name in done.error["message"]


def test_a_run_killed_again_and_again_ends_in_the_same_files(
    few_photos: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "distilled"
    moments = [("encode", 18), ("denoise", 2), ("denoise", 5), ("encode", 30)]
    for stage, step in moments:
        process = start(*arguments(few_photos, out, "--resume"))
        wait_for(process, [("event", "progress"), ("stage", stage), ("done", step)])
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.communicate()
        assert not out.exists()
    done = limbeck(*arguments(few_photos, out, "--resume"))
    assert done.code == 0, done.out
    assert files_of(out) == files_of(undisturbed)


def test_ctrl_c_ends_at_the_next_step_and_resume_ends_in_the_same_files(
    few_photos: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "distilled"
    process = start(*arguments(few_photos, out))
    wait_for(process, [("event", "progress"), ("stage", "denoise"), ("done", 3)])
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(text.splitlines()[-1])["type"] == "Interrupted"
    assert limbeck(*arguments(few_photos, out, "--resume")).code == 0
    assert files_of(out) == files_of(undisturbed)


def test_a_partial_run_is_not_continued_without_being_asked_nor_with_other_settings(
    few_photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "distilled"
    process = start(*arguments(few_photos, out))
    wait_for(process, [("event", "progress"), ("stage", "denoise"), ("done", 8)])  # two classes are finished
    process.kill()
    process.communicate()
    again = limbeck(*arguments(few_photos, out))
    assert again.code == 7
    assert "--resume" in again.error["message"]
    other = limbeck(*arguments(few_photos, out, "--resume", "--seed", "9"))
    assert other.code == 7
    assert "seed" in other.error["message"]


def test_an_output_folder_that_exists_is_left_alone(few_photos: Path, tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    done = limbeck(*arguments(few_photos, tmp_path))
    assert done.code == 7
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--ipc", "0"), 2, "ipc must be at least 1, got 0"),
        (("--set", "guidance_scale=-1"), 2, "guidance scale must be"),
        (("--set", "num_steps=2000"), 2, "num_steps=2000 does not fit"),
        (("--set", "ipc=3"), 2, "unknown setting 'ipc'"),
        (("--ipc", "7"), 3, "class '0' has 6 images, fewer than ipc=7"),
        (("--method", "d5m"), 2, "unknown method 'd5m'"),
        (("--set", "strenght=0.5"), 2, "did you mean 'strength'?"),
        (("--pack", "no-such-pack"), 4, "no pack at 'no-such-pack'"),
        (("--provider", "CUDAExecutionProvider"), 5, "no provider CUDAExecutionProvider"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_exit_code(
    few_photos: Path, tmp_path: Path, more: tuple[str, ...], code: int, message: str
) -> None:
    done = limbeck(*arguments(few_photos, tmp_path / "out", *more))
    assert done.code == code, done.out
    assert message in done.error["message"]
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_refused_with_the_layout_that_works(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = limbeck(*arguments(tmp_path / "empty", tmp_path / "out"))
    assert done.code == 3


def test_unreadable_images_stop_the_run_with_all_their_names_unless_skipped(few_photos: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(few_photos, data)
    (data / "4/broken.jpg").write_bytes(b"not an image")
    torn = sorted((data / "7").iterdir())[0]
    torn.write_bytes(torn.read_bytes()[:-400])
    done = limbeck(*arguments(data, out))
    assert done.code == 3
    assert "broken.jpg" in done.error["message"]
    assert torn.name in done.error["message"]
    assert not any(event["event"] == "progress" and event["stage"] == "denoise" for event in done.events)
    done = limbeck(*arguments(data, out, "--skip-unreadable"))
    assert done.code == 0
    manifest = (out / "manifest.json").read_text()
    assert "broken.jpg" in manifest
    assert torn.name in manifest


def test_tiny_and_huge_images_are_distilled(few_photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(few_photos, data)
    Image.new("RGB", (1, 1), "white").save(data / "0/one-pixel.png")
    Image.effect_noise((5200, 4000), 30).convert("CMYK").save(data / "1/twenty-megapixels.jpg")
    assert limbeck(*arguments(data, tmp_path / "out")).code == 0


def test_a_damaged_pack_is_refused_before_a_runtime_sees_it(few_photos: Path, tmp_path: Path) -> None:
    from limbeck.pack import Pack

    pack = tmp_path / "pack"
    shutil.copytree(Pack.open("mini").folder, pack)
    graph = pack / Pack.open(pack).manifest.graphs["trunk"].file
    whole = graph.read_bytes()
    graph.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    done = limbeck(*arguments(few_photos, tmp_path / "out", "--pack", str(pack)))
    assert done.code == 4
    assert str(graph) in done.error["message"]
    assert limbeck("verify", pack).code == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a full disk needs a small tmpfs, and this user may not mount one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_resume_continues_once_there_is_room(
    few_photos: Path, undisturbed: Path, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(190 * 1024))
    done = limbeck(*arguments(few_photos, small_disk / "out"))
    assert done.code == 7, done.out
    assert "--resume" in done.error["message"]
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert limbeck(*arguments(few_photos, small_disk / "out", "--resume")).code == 0
    assert files_of(small_disk / "out") == files_of(undisturbed)
