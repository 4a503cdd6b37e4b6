"""Runs a distillation job in this process: check everything, then run the method, storing unit by unit.

Whatever can be refused is refused before the first network runs. A unit is on disk, whole, before the next one is
counted; a killed run therefore loses at most the units it was working on, and a resumed one ends in the same files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from limbeck.data.distilled import DistilledWriter
from limbeck.data.partial import refuse_taken
from limbeck.data.source import check, open_source
from limbeck.data.stored import StoredSource
from limbeck.diffusion.models import Models, open_models
from limbeck.errors import Interrupted
from limbeck.methods.base import DistilledImages
from limbeck.pack import Pack
from limbeck_server.jobs import DistillJob

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class DistillResult:
    """What a finished job made.

    Args:
        out: The distilled set.
        images: How many images it has.
        classes: How many classes.
        skipped: Images that were left out, with the reason.
    """

    out: Path
    images: int
    classes: int
    skipped: tuple[tuple[str, str], ...]


def run_distill(
    job: DistillJob,
    *,
    on_progress: OnProgress = lambda stage, done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> DistillResult:
    """Run `job` to its end.

    Args:
        job: What to run.
        on_progress: Called with stage, done and total after each step.
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
    pack = Pack.open(job.pack)
    source = open_source(job.data, image_column=job.image_column, label_column=job.label_column)
    source = check(
        source, skip_unreadable=job.skip_unreadable, on_progress=lambda done, total: progress("checking", done, total)
    )
    with open_models(pack, job.backend, bucket=job.bucket) as models:
        job.method.check(source, models)
        units = job.method.units(source)
        with DistilledWriter.start(
            job.out,
            _header(job, pack, source, models),
            class_names=source.class_names,
            ipc=job.method.ipc,
            num_units=len(units),
            resume=job.resume,
        ) as writer:
            left = [unit for unit in units if unit.index not in writer.finished_units()]
            for event in job.method.distill(left, source, models):
                if isinstance(event, DistilledImages):
                    writer.write_unit(event.unit.index, event.images, event.class_ids, event.rows)
                else:
                    progress(event.stage, event.done, event.total)
            writer.finish()
    classes = len(source.class_names)
    return DistillResult(job.out, classes * job.method.ipc, classes, source.skipped)


def _header(job: DistillJob, pack: Pack, source: StoredSource, models: Models) -> dict[str, object]:
    """What decides the result; a partial run is continued only if all of it is the same."""
    return {
        "method": job.settings(),
        "pack": {"name": pack.manifest.name, "digest": pack.digest},
        "backend": {"name": job.backend.name, "fingerprint": job.backend.fingerprint()},
        "engines": dict(models.engines),
        "bucket": job.bucket,
        "image_size": models.image_size,
        "source": source.describe(),
        "skipped": [{"name": name, "reason": reason} for name, reason in source.skipped],
    }
