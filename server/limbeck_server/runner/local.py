"""Runs a distillation job in this process: check everything, then run the method, storing unit by unit.

Whatever can be refused is refused before the first network runs. A unit is on disk, whole, before the next one is
counted; a killed run therefore loses at most the units it was working on, and a resumed one ends in the same files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from limbeck.data.base import ImageSource
from limbeck.data.distilled import DistilledWriter
from limbeck.data.source import open_source, unreadable
from limbeck.diffusion.models import Models, open_models
from limbeck.errors import Interrupted, UnreadableImagesError
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
