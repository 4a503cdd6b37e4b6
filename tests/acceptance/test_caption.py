"""`limbeck caption` as a process, with the shipped pack and with a server on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.cli import ENVIRONMENT, limbeck
from support.endpoint import Server, answers, status

COLORS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, color in COLORS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.clip(np.array(color) + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def rows(path: Path) -> dict[str, str]:
    return {row["file_name"]: row["text"] for row in map(json.loads, path.read_text().splitlines())}


def test_by_default_a_template_says_what_each_image_is_like(photos: Path, tmp_path: Path) -> None:
    done = limbeck("caption", "--data", photos, "--out", tmp_path / "m.jsonl", "--count", "1")
    assert done.code == 0, done.err
    found = rows(tmp_path / "m.jsonl")
    assert list(found) == [f"{name}/{i}.png" for name in sorted(COLORS) for i in range(3)]
    for image, text in found.items():
        before, _, like = text.rpartition(" ")
        assert before == f"a photo of {image.partition('/')[0]}, somewhat like"
        assert like in COLORS


def test_an_endpoint_looks_at_each_image_and_a_failed_run_is_continued(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("httpx2", reason="an endpoint needs the extra limbeck[endpoint]")
    environment = {**ENVIRONMENT, "LIMBECK_CACHE": str(tmp_path / "cache"), "LIMBECK_API_KEY": "sk-secret"}
    arguments = ["caption", "--data", photos, "--out", tmp_path / "m.jsonl", "--by", "endpoint", "--model", "m"]
    with Server([answers(lambda request: "a square")] * 4 + [status(400)]) as server:
        asking = [*arguments, "--url", server.url, "--set", "concurrency=1", "--json"]
        failed = limbeck(*asking, environment=environment)
        assert (failed.code, failed.error["type"]) == (8, "EndpointError")
        assert not (tmp_path / "m.jsonl").exists()
        server.behaviors = [answers(lambda request: "a square")]
        assert limbeck(*asking, environment=environment).code == 0
    assert rows(tmp_path / "m.jsonl")["red/0.png"] == "red, a square"
    assert len(server.requests) == 4 + 1 + 5
    assert "sk-secret" not in failed.out + failed.err


def test_a_file_that_exists_is_not_overwritten(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("mine")
    done = limbeck("caption", "--data", photos, "--out", tmp_path / "m.jsonl", "--json")
    assert done.code == 7
    assert (tmp_path / "m.jsonl").read_text() == "mine"


def test_a_folder_that_is_not_there_is_said_before_anything_is_captioned(photos: Path, tmp_path: Path) -> None:
    done = limbeck("caption", "--data", photos, "--out", tmp_path / "missing" / "m.jsonl", "--json")
    assert (done.code, [event["event"] for event in done.events]) == (7, ["error"])
    assert "missing is no folder" in done.error["message"]


def test_an_endpoint_without_an_address_is_refused(photos: Path, tmp_path: Path) -> None:
    done = limbeck("caption", "--data", photos, "--out", tmp_path / "m.jsonl", "--by", "endpoint", "--json")
    assert done.code == 2
    assert "--url" in done.error["message"]


def test_an_option_that_the_other_way_reads_is_refused(photos: Path, tmp_path: Path) -> None:
    done = limbeck("caption", "--data", photos, "--out", tmp_path / "m.jsonl", "--called", "0=zero", "--json")
    assert done.code == 2
    assert "--called is for --by endpoint" in done.error["message"]
