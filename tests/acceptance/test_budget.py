"""`--budget` as people meet it: real processes, the shipped pack, limits that the operating system enforces."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.cli import COMMAND, ENVIRONMENT, Done, limbeck

PHOTOS = Path(__file__).parents[2] / "examples/data/sign_digits/test"
MIB = 2**20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits private memory")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four real photos of each of four digits."""
    root = tmp_path_factory.mktemp("photos")
    for folder in sorted(PHOTOS.iterdir())[:4]:
        (root / folder.name).mkdir()
        for photo in sorted(folder.iterdir())[:4]:
            shutil.copy(photo, root / folder.name)
    return root


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A cache of its own, so that profiles are measured here."""
    return {**ENVIRONMENT, "LIMBECK_CACHE": str(tmp_path_factory.mktemp("cache"))}


def arguments(photos: Path, *more: str | Path) -> list[str | Path]:
    return ["--data", photos, "--ipc", "2", "--set", "num_steps=4", "--json", *more]


def under_limit(nbytes: int, environment: dict[str, str], *arguments: str | Path) -> Done:
    """The command in a process to which the system grants no more than `nbytes` of private memory."""

    def refuse_more() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (nbytes, nbytes))

    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, env=environment, preexec_fn=refuse_more, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def plan(photos: Path, environment: dict[str, str]) -> dict[str, object]:
    done = limbeck("plan", *arguments(photos, "--budget", "2GiB"), environment=environment)
    assert done.code == 0, done.out + done.err
    return done.events[-1]


def test_a_plan_shows_the_peak_by_part_the_time_and_the_disk(plan: dict[str, object]) -> None:
    parts = plan["parts"]
    assert isinstance(parts, dict)
    assert sum(parts.values()) == plan["peak_nbytes"]
    assert plan["seconds"] > 0  # type: ignore[operator]
    assert plan["disk_nbytes"] > 0  # type: ignore[operator]


def test_a_run_takes_what_was_predicted_within_a_tenth_and_no_more_than_the_budget(
    photos: Path, environment: dict[str, str], plan: dict[str, object], tmp_path: Path
) -> None:
    budget = int(plan["peak_nbytes"] * 1.1)  # type: ignore[operator]
    more = ("--budget", f"{budget}B", "--out", tmp_path / "out")
    done = under_limit(budget, environment, "distill", *arguments(photos, *more))
    assert done.code == 0, done.out + done.err
    memory = json.loads((tmp_path / "out/manifest.json").read_text())["memory"]
    assert memory["measured"]["peak_nbytes"] <= budget
    assert memory["measured"]["peak_nbytes"] == pytest.approx(memory["predicted"]["peak_nbytes"], rel=0.1)


def test_a_budget_that_nothing_fits_in_is_refused_with_what_would(
    photos: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    done = limbeck(
        "distill", *arguments(photos, "--budget", "64MiB", "--out", tmp_path / "out"), environment=environment
    )
    assert done.code == 2
    assert "64 MiB" in done.error["message"]
    assert list(tmp_path.iterdir()) == []


def test_no_amount_of_memory_is_refused(photos: Path, tmp_path: Path) -> None:
    done = limbeck("distill", *arguments(photos, "--budget", "much", "--out", tmp_path / "out"))
    assert done.code == 2
    assert "write 4GiB" in done.error["message"]


def test_memory_that_runs_out_halves_the_bucket_and_the_job_ends_well(
    photos: Path, environment: dict[str, str], plan: dict[str, object], tmp_path: Path
) -> None:
    process = plan["parts"]["process"]  # type: ignore[index]
    limit = process + 350 * MIB  # enough for all engines in a bucket of 16, and not for one in a bucket of 128
    done = under_limit(limit, environment, "distill", *arguments(photos, "--bucket", "128", "--out", tmp_path / "out"))
    assert done.code == 0, done.out + done.err
    buckets = [event["bucket"] for event in done.events if event["event"] == "out_of_memory"]
    assert buckets
    rows = [json.loads(line) for line in (tmp_path / "out/train/metadata.jsonl").read_text().splitlines()]
    assert {row["bucket"] for row in rows} == {buckets[-1]}
    memory = json.loads((tmp_path / "out/manifest.json").read_text())["memory"]
    assert memory["out_of_memory_in_buckets"][0] == 128


@pytest.mark.parametrize("budget", ["10MiB", "150MiB"])
def test_a_budget_that_the_libraries_alone_exceed_is_refused_with_what_they_take(
    photos: Path, environment: dict[str, str], budget: str
) -> None:
    done = limbeck("plan", *arguments(photos, "--budget", budget), environment=environment, timeout=120)
    assert (done.code, done.error["type"]) == (2, "BudgetError"), done.out + done.err
    assert "would fit" in done.error["message"]


def test_libraries_that_the_systems_limit_does_not_admit_are_an_error_and_no_hang(
    photos: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    done = under_limit(200 * MIB, environment, "distill", *arguments(photos, "--out", tmp_path / "out"))
    assert done.error["type"] == "MemoryLimitError", done.out + done.err
    assert "the libraries of method 'd4m' do not fit" in done.error["message"]
