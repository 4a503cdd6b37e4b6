"""The runner, on the shipped pack with the backend that computes nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limbeck.backends.base import Graph, Session
from limbeck.backends.null import Null
from limbeck.diffusion.step_cache import StepCache
from limbeck.errors import ConfigError, Interrupted, LimbeckError, OutputError
from limbeck.methods.d4m import D4M
from limbeck_server.jobs import DistillJob
from limbeck_server.runner.local import run_distill
from support.cli import files_of

SIZES = {"height": 64, "width": 64, "latent_height": 8, "latent_width": 8}


class Counting(Null):
    """Writes down which graphs were compiled."""

    def __init__(self) -> None:
        super().__init__(SIZES)
        self.compiled: list[str] = []

    def compile(self, graph: Graph) -> Session:
        self.compiled.append(graph.path.parent.name)
        return super().compile(graph)


@pytest.fixture
def job(tmp_path: Path) -> DistillJob:
    rng = np.random.default_rng(0)
    for digit in "012":
        folder = tmp_path / "photos" / digit
        folder.mkdir(parents=True)
        for index in range(3):
            Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(folder / f"{index}.png")
    return DistillJob(
        method=D4M(ipc=2, num_steps=4),
        pack="mini",
        data=str(tmp_path / "photos"),
        out=tmp_path / "out",
        backend=Counting(),
        bucket=2,
    )


def test_a_job_makes_ipc_images_of_every_class(job: DistillJob) -> None:
    result = run_distill(job)
    assert (result.images, result.classes, result.skipped) == (6, 3, ())
    assert len(list((result.out / "train").rglob("*.png"))) == 6


def test_the_manifest_says_what_decides_the_result_and_nothing_of_the_machine(job: DistillJob) -> None:
    run_distill(job)
    text = (job.out / "manifest.json").read_text()
    manifest = json.loads(text)
    assert manifest["method"] == {"name": "d4m", **json.loads(json.dumps(dataclasses.asdict(job.method)))}
    assert manifest["bucket"] == 2
    assert set(manifest["engines"]) == {"conditioner", "trunk", "encoder", "decoder"}
    assert str(job.out.parent) not in text


def test_a_stop_ends_at_the_next_step_and_resume_ends_in_the_same_files(job: DistillJob, tmp_path: Path) -> None:
    run_distill(job)
    steps: list[str] = []
    stopped = dataclasses.replace(job, out=tmp_path / "stopped")
    with pytest.raises(Interrupted, match="--resume"):
        run_distill(
            stopped,
            on_progress=lambda stage, done, total: steps.append(stage),
            should_stop=lambda: steps.count("denoise") == 4,
        )
    assert steps[-1] == "denoise"
    assert not stopped.out.exists()
    run_distill(dataclasses.replace(stopped, resume=True))
    assert files_of(stopped.out) == files_of(job.out)


def test_resume_makes_only_the_units_that_are_missing(job: DistillJob) -> None:
    seen: list[tuple[str, int]] = []
    with pytest.raises(Interrupted):
        run_distill(job, should_stop=lambda: (job.out.parent / ".out.partial/units/000001.json").exists())
    run_distill(
        dataclasses.replace(job, resume=True), on_progress=lambda stage, done, total: seen.append((stage, total))
    )
    assert {total for stage, total in seen if stage == "encode"} == {3}, "the images of the one class that was left"


@pytest.mark.parametrize(
    "change",
    [
        {"data": "nowhere"},
        {"pack": "nothing"},
        {"method": D4M(ipc=4)},
        {"bucket": 0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_cannot_work_is_refused_and_leaves_nothing_behind(job: DistillJob, change: dict[str, object]) -> None:
    with pytest.raises(LimbeckError):
        run_distill(dataclasses.replace(job, **change))  # type: ignore[arg-type]
    assert [path.name for path in job.out.parent.iterdir()] == ["photos"]


def test_an_output_that_exists_is_refused_before_anything_is_compiled(job: DistillJob) -> None:
    job.out.mkdir()
    with pytest.raises(OutputError, match="never writes over"):
        run_distill(job)
    assert job.backend.compiled == []  # type: ignore[attr-defined]


def test_unreadable_images_are_refused_before_anything_is_compiled(job: DistillJob) -> None:
    (Path(job.data) / "1/torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    with pytest.raises(LimbeckError, match=r"torn\.png"):
        run_distill(job)
    assert job.backend.compiled == []  # type: ignore[attr-defined]


def test_images_that_were_skipped_are_in_the_manifest(job: DistillJob) -> None:
    (Path(job.data) / "1/torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    result = run_distill(dataclasses.replace(job, skip_unreadable=True))
    assert [Path(name).name for name, _ in result.skipped] == ["torn.png"]
    manifest = json.loads((job.out / "manifest.json").read_text())
    assert [Path(entry["name"]).name for entry in manifest["skipped"]] == ["torn.png"]


def test_a_step_cache_that_the_gate_has_not_accepted_is_refused_before_anything_is_compiled(job: DistillJob) -> None:
    with pytest.raises(ConfigError, match="has not accepted every=2,order=1 for pack 'mini' at fp32 on null"):
        run_distill(dataclasses.replace(job, step_cache=StepCache()))
    assert isinstance(job.backend, Counting)
    assert job.backend.compiled == []
