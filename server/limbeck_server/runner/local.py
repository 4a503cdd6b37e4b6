"""Runs a distillation job in this process: check, plan its memory, run the method, and store unit by unit.

Whatever can be refused is refused before the first network runs. A unit is on disk, whole, before the next one is
counted; a killed run therefore loses at most the units it was working on, and a resumed one ends in the same files.

With a budget, the system is told to refuse the process any more than that. Memory that is refused, by this limit or
another, is an event: engines are closed, the bucket is halved, and what is not finished is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from limbeck.data.distilled import DistilledWriter
from limbeck.data.partial import refuse_taken
from limbeck.data.source import check, open_source
from limbeck.data.stored import StoredSource
from limbeck.errors import Interrupted
from limbeck.memory.process import PeakMeter, limited, usage
from limbeck.pack import Pack
from limbeck_server.jobs import DistillJob
from limbeck_server.runner.open_job import OnEvent, OnProgress, OpenJob
from limbeck_server.runner.ready import make_ready


@dataclass(frozen=True)
class DistillResult:
    """What a finished job made.

    Args:
        out: The distilled set.
        images: How many images it has.
        classes: How many classes.
        skipped: Images that were left out, with the reason.
        memory: What it was predicted to take, and what it took; as in the manifest.
    """

    out: Path
    images: int
    classes: int
    skipped: tuple[tuple[str, str], ...]
    memory: Mapping[str, object]


def run_distill(
    job: DistillJob,
    *,
    on_progress: OnProgress = lambda stage, done, total: None,
    on_event: OnEvent = lambda event, fields: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> DistillResult:
    """Run `job` to its end.

    Args:
        job: What to run.
        on_progress: Called with stage, done and total after each step.
        on_event: Called with "plan" once it is made, and with "out_of_memory" when the bucket was halved.
        should_stop: Asked after each step; True ends the run, keeping what is finished.

    Raises:
        Interrupted: `should_stop` said so; `--resume` continues.
        LimbeckError: Anything else that the user can mend, with what would work.
    """

    def progress(stage: str, done: int, total: int) -> None:
        on_progress(stage, done, total)
        if should_stop():
            raise Interrupted(f"stopped; finished classes are kept, the same command with --resume continues {job.out}")

    refuse_taken(job.out, resume=job.resume)
    make_ready(job.method, job.budget_nbytes)
    with limited(job.budget_nbytes), PeakMeter() as meter:
        pack = Pack.open(job.pack)
        job.check_step_cache(pack.manifest)
        source, picture_nbytes = checked_source(job, meter, progress)
        with OpenJob(job, pack, source, meter, progress, on_event) as opened:
            opened.make_plan(picture_nbytes)
            meter.restart()
            header = opened.header()
            units = opened.units()
            with DistilledWriter.start(
                job.out,
                header,
                class_names=source.class_names,
                ipc=job.method.ipc,
                num_units=len(units),
                resume=job.resume,
            ) as writer:
                opened.make(range(len(units)), writer)
                memory = opened.memory()
                writer.finish(memory=memory)
    classes = len(source.class_names)
    return DistillResult(job.out, classes * job.method.ipc, classes, source.skipped, memory)


def checked_source(job: DistillJob, meter: PeakMeter, progress: OnProgress) -> tuple[StoredSource, int]:
    """The source without what may be left out, and the most private memory that decoding one of its images took."""
    source = open_source(job.data, **job.reading)
    before = usage().private_nbytes
    meter.restart()
    source = check(
        source, skip_unreadable=job.skip_unreadable, on_progress=lambda done, total: progress("checking", done, total)
    )
    return source, max(meter.peak.private_nbytes - before, 0)
