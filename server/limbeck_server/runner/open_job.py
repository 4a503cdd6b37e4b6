"""A job with its pack, images and networks open; whoever has it runs units of it, one after another.

Memory that is refused, by the budget or another limit, is an event: the networks are closed, the bucket is halved, and
what was asked is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TypeVar

from limbeck.backends.base import Backend
from limbeck.data.arrays_file import NamedArrays
from limbeck.data.stored import StoredSource
from limbeck.data.unit import EncodedUnit, UnitLayout
from limbeck.errors import MemoryLimitError
from limbeck.memory.planner import Layout, Plan, shrunk, together
from limbeck.memory.process import PeakMeter, give_back, peak_resident_nbytes
from limbeck.methods.base import Checkpoint, DistilledImages, Unit
from limbeck.models import Models, made_image_size, needed_graphs, open_models
from limbeck.pack import Pack
from limbeck_server.jobs import DistillJob
from limbeck_server.runner.planning import LARGEST_BUCKET, Planner, describe, refuse_short

OnProgress = Callable[[str, int, int], None]
OnEvent = Callable[[str, Mapping[str, object]], None]
T = TypeVar("T")


class UnitSink(Protocol):
    """Where finished units go, and the state of those that are under way."""

    @property
    def layout(self) -> UnitLayout: ...

    def finished_units(self) -> Set[int]: ...

    def checkpoint(self, unit: int) -> NamedArrays | None: ...

    def write_checkpoint(self, unit: int, state: NamedArrays) -> None: ...

    def store_unit(self, unit: EncodedUnit) -> None: ...


@dataclass
class OpenJob:
    """One job on its way. Use it by `with`: the end closes its networks.

    Args:
        job: What is run.
        pack: Its networks.
        source: Its images, without those that are left out.
        meter: Measures this process.
        on_progress: Called after each step; what it raises ends the run.
        on_event: Told "plan" and "out_of_memory".
        layout: What is loaded together, as an earlier plan said; None before there is one.
    """

    job: DistillJob
    pack: Pack
    source: StoredSource
    meter: PeakMeter
    on_progress: OnProgress
    on_event: OnEvent
    plan: Plan | None = None
    layout: Layout | None = None
    shrunk_from: list[int] = field(default_factory=list)
    _opened: AbstractContextManager[Models] | None = field(default=None, init=False)
    _models: Models | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the networks; the next unit opens them again."""
        opened, self._opened, self._models = self._opened, None, None
        if opened is not None:
            opened.__exit__(None, None, None)

    def make_plan(self, picture_nbytes: int) -> None:
        """Plan the job under its budget, and follow the plan; nothing happens without a budget.

        Raises:
            BudgetError: No plan fits; it says what would.
        """
        job = self.job
        if job.budget_nbytes is None:
            return
        planner = Planner(
            pack=self.pack,
            backend=job.backend,
            budget_nbytes=job.budget_nbytes,
            bucket=job.bucket,
            step_cache=job.step_cache,
            role_backends=job.role_backends,
            on_progress=self.on_progress,
        )
        self.plan = planner.plan(job.method, self.source, picture_nbytes=picture_nbytes)
        self.layout = self.plan.layout
        self.on_event("plan", describe(self.plan))

    def header(self) -> dict[str, object]:
        """What decides the result; a partial set is continued only if all of it is the same.

        Raises:
            LimbeckError: The method refuses the source or the pack.
        """
        return self._with_models(self._header)

    def units(self) -> list[Unit]:
        """The whole work, in order."""
        return list(self.job.method.units(self.source))

    def make(self, units: Container[int], sink: UnitSink) -> None:
        """Make the units with these indices that the sink does not have yet.

        Raises:
            MemoryLimitError: Memory ran out in a bucket of 1 with one engine loaded at a time.
            LimbeckError: Anything else that the user can mend; what `on_progress` raises.
        """
        self._with_models(lambda models: self._make(units, sink, models))

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

    def _with_models(self, use: Callable[[Models], T]) -> T:
        """What `use` gives, in smaller buckets if memory runs out."""
        while True:
            try:
                return use(self._models or self._open())
            except (MemoryLimitError, MemoryError) as error:
                refused = str(error) or type(error).__name__
            # outside the handler: the traceback holds the frames, and they hold the arrays
            self.close()
            give_back()
            self._shrink(refused)

    def _open(self) -> Models:
        job = self.job
        opened = open_models(
            self.pack,
            job.backend,
            needs=job.method.needs,
            bucket=LARGEST_BUCKET if job.bucket is None else job.bucket,
            layout=self.layout,
            step_cache=job.step_cache,
            role_backends=job.role_backends,
        )
        self._models, self._opened = opened.__enter__(), opened
        job.method.check(self.source, self._models)
        refuse_short(job.method.work(self.source, self._models), job.step_cache)
        return self._models

    def _make(self, units: Container[int], sink: UnitSink, models: Models) -> None:
        finished = sink.finished_units()
        left = [unit for unit in self.units() if unit.index in units and unit.index not in finished]
        states = {unit.index: state for unit in left if (state := sink.checkpoint(unit.index))}
        made_in: dict[str, object] = {"bucket": models.bucket, "codec_bucket": models.images_at_a_time}
        if self.layout and self.layout.tile:
            made_in["tile"] = self.layout.tile
        for event in self.job.method.distill(left, self.source, models, resume=states):
            if isinstance(event, DistilledImages):
                rows = [{**row, **made_in} for row in event.rows or [{}] * len(event.images)]
                sink.store_unit(sink.layout.encode(event.unit.index, event.images, event.class_ids, rows, event.arrays))
            elif isinstance(event, Checkpoint):
                sink.write_checkpoint(event.unit.index, event.state)
            else:
                self.on_progress(event.stage, event.done, event.total)

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

    def _header(self, models: Models) -> dict[str, object]:
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


def _named(backend: Backend) -> dict[str, object]:
    return {"name": backend.name, "fingerprint": backend.fingerprint()}
