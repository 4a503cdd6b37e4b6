"""A stranger who follows docs/how-to/add-a-method.md has a method that keeps the contract and runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.cli import ENVIRONMENT, limbeck
from support.packages import install
from support.photos import few_photos

ROOT = Path(__file__).parents[2]


def blocks(language: str) -> list[str]:
    page = (ROOT / "docs/how-to/add-a-method.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the page, installed: what it shows put together, under the entry points that it shows."""
    *method, _ = blocks("python")
    (project,) = (tomllib.loads(block)["project"] for block in blocks("toml"))
    folder = tmp_path_factory.mktemp("site")
    install(
        folder,
        project["name"],
        methods=project["entry-points"]["limbeck.methods"],
        module=("limbeck_blend", "\n".join(method)),
    )
    return folder


@pytest.fixture
def environment(site: Path) -> dict[str, str]:
    return {**ENVIRONMENT, "PYTHONPATH": str(site)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four real photos of two digits."""
    return few_photos(tmp_path_factory.mktemp("photos"), each=4)


def test_the_page_shows_the_method_of_the_example() -> None:
    example = (ROOT / "examples/05_add_a_method.py").read_text()
    *method, _ = blocks("python")
    body = "\n".join(method)
    class_of_page, class_of_example = (text[text.index("@dataclass") :] for text in (body, example))
    assert class_of_example.startswith(class_of_page.rstrip("\n"))


def test_the_test_of_the_page_passes(site: Path, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "test_blend.py").write_text(blocks("python")[-1])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_blend.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b15 passed", done.stdout), "the page says how many checks there are"


def test_the_command_line_runs_a_method_of_an_installed_package(
    environment: dict[str, str], photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "distilled"
    settings = ["--method", "blend", "--set", "num_parts=3", "--ipc", "2", "--data", photos, "--out", out]
    done = limbeck("distill", *settings, "--json", environment=environment)
    assert done.code == 0, done.out + done.err
    method = json.loads((out / "manifest.json").read_text())["method"]
    assert method == {
        "name": "blend",
        "package": "limbeck-blend 1.0",
        "ipc": 2,
        "seed": 0,
        "num_parts": 3,
        "fit": "crop",
    }
    rows = [json.loads(line) for line in (out / "train/metadata.jsonl").read_text().splitlines()]
    assert [len(row["blended"]) for row in rows] == [3] * 4
    assert limbeck("verify", out).code == 0


def test_without_the_package_its_method_is_unknown(photos: Path, tmp_path: Path) -> None:
    done = limbeck("distill", "--method", "blend", "--data", photos, "--out", tmp_path / "out", "--json")
    assert done.code == 2
    assert "unknown method 'blend'; there is d4m" in done.error["message"]


def test_a_broken_package_is_named_by_the_command_line_and_stops_no_other_method(
    photos: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    install(broken, "bad", methods={"bad": "bad_method:Bad"}, module=("bad_method", "raise OSError('no licence')"))
    both = {**environment, "PYTHONPATH": os.pathsep.join([environment["PYTHONPATH"], str(broken)])}
    done = limbeck("distill", "--method", "bad", "--data", photos, "--out", tmp_path / "a", "--json", environment=both)
    assert done.code == 2
    assert "method 'bad' of package 'bad 1.0' cannot be loaded" in done.error["message"]
    assert "OSError: no licence" in done.error["message"]
    for method in ("blend", "random"):
        out = tmp_path / method
        done = limbeck("distill", "--method", method, "--data", photos, "--out", out, "--json", environment=both)
        assert done.code == 0, done.out
