"""How far jobs are, between their events: what the workers' last signs of life say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limbeck_server.operations.metrics import Metrics
from limbeck_server.workers.pool import WorkerPool


@dataclass(frozen=True)
class PoolProgress:
    """The progress of jobs that workers work on now.

    Args:
        pool: The workers.
        metrics: Knows how fast images come.
    """

    pool: WorkerPool
    metrics: Metrics

    def latest(self, job: str) -> Mapping[str, Any] | None:
        """Stage, done, total, images_per_second and private_nbytes; None if nobody works on the job.

        Of several workers, the stage of the one that is furthest behind, and the memory of all.
        """
        beats = [beat for beat in self.pool.beats(job) if beat.stage]
        if not beats:
            return None
        last = min(beats, key=lambda beat: beat.done / max(beat.total, 1))
        return {
            "stage": last.stage,
            "done": last.done,
            "total": last.total,
            "images_per_second": self.metrics.images_per_second,
            "private_nbytes": sum(beat.private_nbytes for beat in beats),
        }
