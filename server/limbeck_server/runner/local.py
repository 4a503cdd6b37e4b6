"""Runs a distillation job in this process: check, plan its memory, run the method, and store unit by unit.

Whatever can be refused is refused before the first network runs. A unit is on disk, whole, before the next one is
counted; a killed run therefore loses at most the units it was working on, and a resumed one ends in the same files.

With a budget, the system is told to refuse the process any more than that. Memory that is refused, by this limit or
another, is an event: engines are closed, the bucket is halved, and what is not finished is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from limbeck.backends.base import Backend
from limbeck.data.distilled import DistilledWriter
from limbeck.data.partial import refuse_taken
from limbeck.data.source import check, open_source
from limbeck.data.stored import StoredSource
from limbeck.errors import Interrupted, MemoryLimitError
from limbeck.memory.planner import Layout, Plan, shrunk, together
from limbeck.memory.process import PeakMeter, give_back, limited, peak_resident_nbytes, usage
from limbeck.methods.base import Checkpoint, DistilledImages
from limbeck.models import Models, made_image_size, needed_graphs, open_models
from limbeck.pack import Pack
from limbeck_server.jobs import DistillJob
from limbeck_server.runner.planning import LARGEST_BUCKET, Planner, refuse_short
from limbeck_server.runner.ready import make_ready

OnProgress = Callable[[str, int, int], None]
OnEvent = Callable[[str, Mapping[str, object]], None]


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
        run = _Run(job, pack, source, meter, progress, on_event)
        if job.budget_nbytes is not None:
            planner = Planner(
                pack=pack,
                backend=job.backend,
                budget_nbytes=job.budget_nbytes,
                bucket=job.bucket,
                step_cache=job.step_cache,
                role_backends=job.role_backends,
                on_progress=progress,
            )
            run.follow(planner.plan(job.method, source, picture_nbytes=picture_nbytes))
        run.to_its_end()
    classes = len(source.class_names)
    return DistillResult(job.out, classes * job.method.ipc, classes, source.skipped, run.memory())


def checked_source(job: DistillJob, meter: PeakMeter, progress: OnProgress) -> tuple[StoredSource, int]:
    """The source without what may be left out, and the most private memory that decoding one of its images took."""
    source = open_source(job.data, **job.reading)
    before = usage().private_nbytes
    meter.restart()
    source = check(
        source, skip_unreadable=job.skip_unreadable, on_progress=lambda done, total: progress("checking", done, total)
    )
    return source, max(meter.peak.private_nbytes - before, 0)


@dataclass
class _Run:
    """One job on its way: its layout shrinks when memory runs out."""

    job: DistillJob
    pack: Pack
    source: StoredSource
    meter: PeakMeter
    progress: OnProgress
    on_event: OnEvent
    plan: Plan | None = None
    layout: Layout | None = None
    shrunk_from: list[int] = field(default_factory=list)

    def follow(self, plan: Plan) -> None:
        """Take the plan's layout."""
        self.plan, self.layout = plan, plan.layout
        self.on_event("plan", describe(plan))

    def to_its_end(self) -> None:
        """Make every unit, in smaller buckets if memory runs out."""
        self.meter.restart()
        while True:
            try:
                return self._attempt()
            except (MemoryLimitError, MemoryError) as error:
                refused = str(error) or type(error).__name__
            # outside the handler: the traceback holds the frames, and they hold the arrays
            give_back()
            self._shrink(refused)

    def _shrink(self, refused: str) -> None:
        before = self.layout or self._unplanned()
        after = shrunk(before)
        if after is None:
            raise MemoryLimitError(
                f"out of memory in a bucket of 1 with one engine loaded at a time: {refused}\n"
                "nothing smaller is left to try; finished classes are kept. A pack with smaller engines would need "
                "less: limbeck build PACK --out SMALLER --precision int8"
            )
        self.shrunk_from.append(before.bucket)
        self.layout = after
        self.on_event("out_of_memory", {"bucket": after.bucket, "was": before.bucket, "reason": refused})

    def _unplanned(self) -> Layout:
        return together(
            tuple(needed_graphs(self.pack, self.job.method.needs, self.job.step_cache)),
            bucket=self.job.bucket or LARGEST_BUCKET,
            image_size=made_image_size(self.pack.manifest),
        )

    def _attempt(self) -> None:
        job = self.job
        bucket = LARGEST_BUCKET if job.bucket is None else job.bucket
        with open_models(
            self.pack,
            job.backend,
            needs=job.method.needs,
            bucket=bucket,
            layout=self.layout,
            step_cache=job.step_cache,
            role_backends=job.role_backends,
        ) as models:
            job.method.check(self.source, models)
            work = job.method.work(self.source, models)
            refuse_short(work, job.step_cache)
            units = job.method.units(self.source)
            with DistilledWriter.start(
                job.out,
                self._header(models),
                class_names=self.source.class_names,
                ipc=job.method.ipc,
                num_units=len(units),
                resume=job.resume or bool(self.shrunk_from),
            ) as writer:
                left = [unit for unit in units if unit.index not in writer.finished_units()]
                states = {unit.index: state for unit in left if (state := writer.checkpoint(unit.index))}
                made_in: dict[str, object] = {"bucket": models.bucket, "codec_bucket": models.images_at_a_time}
                if self.layout and self.layout.tile:
                    made_in["tile"] = self.layout.tile
                for event in job.method.distill(left, self.source, models, resume=states):
                    if isinstance(event, DistilledImages):
                        rows = [{**row, **made_in} for row in event.rows or [{}] * len(event.images)]
                        writer.write_unit(event.unit.index, event.images, event.class_ids, rows, event.arrays)
                    elif isinstance(event, Checkpoint):
                        writer.write_checkpoint(event.unit.index, event.state)
                    else:
                        self.progress(event.stage, event.done, event.total)
                writer.finish(memory=self.memory())

    def _header(self, models: Models) -> dict[str, object]:
        """What decides the result; a partial run is continued only if all of it is the same."""
        job = self.job
        return {
            "method": job.settings(),
            "pack": {"name": self.pack.manifest.name, "digest": self.pack.digest},
            "backend": _named(job.backend),
            "role_backends": {role: _named(backend) for role, backend in sorted(job.role_backends.items())},
            "engines": dict(models.engines),
            "step_cache": dict(job.step_cache.recipe) if job.step_cache else None,
            "bucket": job.bucket if job.bucket or job.budget_nbytes else LARGEST_BUCKET,
            "source": self.source.describe(),
            "skipped": [{"name": name, "reason": reason} for name, reason in self.source.skipped],
        }

    def memory(self) -> dict[str, object]:
        """What the run was predicted to take, and took."""
        peak = self.meter.peak
        return {
            "budget_nbytes": self.job.budget_nbytes,
            "predicted": describe(self.plan) if self.plan else None,
            "measured": {
                "peak_nbytes": peak.private_nbytes,
                "anonymous_nbytes": peak.anonymous_nbytes,
                "file_nbytes": peak.file_nbytes,
                "peak_resident_nbytes": peak_resident_nbytes(),
            },
            "out_of_memory_in_buckets": list(self.shrunk_from),
        }


def _named(backend: Backend) -> dict[str, object]:
    return {"name": backend.name, "fingerprint": backend.fingerprint()}


def describe(plan: Plan) -> dict[str, object]:
    """A plan as JSON values."""
    layout = plan.layout
    return {
        "peak_nbytes": plan.peak_nbytes,
        "parts": dict(plan.parts),
        "stages": dict(plan.stages),
        "seconds": round(plan.seconds, 3),
        "bucket": layout.bucket,
        "codec_bucket": layout.codec_bucket,
        "tile": layout.tile,
        "groups": [list(group) for group in layout.groups],
        "wave": layout.wave,
    }
