"""A distillation in a worker: prepared once, its units made lease by lease, its set put in its place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from limbeck.data.arrays_file import unsealed
from limbeck.data.distilled import DistilledWriter, is_distilled, verify_distilled
from limbeck.data.naming import class_folders
from limbeck.data.partial import refuse_taken
from limbeck.data.source import open_source
from limbeck.data.stored import StoredSource
from limbeck.data.unit import EncodedUnit, UnitLayout
from limbeck.errors import DataError, OutputError
from limbeck.memory.planner import Layout
from limbeck.memory.process import PeakMeter, limited
from limbeck.pack import Pack
from limbeck_server.jobs import DistillJob
from limbeck_server.rpc import worker_pb2
from limbeck_server.runner.local import checked_source
from limbeck_server.runner.open_job import OnProgress, OpenJob
from limbeck_server.runner.planning import describe
from limbeck_server.runner.ready import make_ready
from limbeck_server.store.blobs import Blobs
from limbeck_server.workers.sink import LeaseSink

_LAYOUT = TypeAdapter(Layout)


class Distilling:
    """One job in this process. Use it by `with`; it keeps images and networks open between leases.

    Args:
        job: What is run; its `out` is where the set goes.
        prepared: What an earlier `prepare` found, here or in another worker; None before.
        blobs: Where files go.
        send: Tells the front.
        step: Called after each step; what it raises ends the lease.
    """

    def __init__(
        self,
        job: DistillJob,
        prepared: Mapping[str, Any] | None,
        *,
        blobs: Blobs,
        send: Callable[..., None],
        step: OnProgress,
    ) -> None:
        """Open nothing yet."""
        self.job = job
        self._prepared = prepared
        self._blobs = blobs
        self._send = send
        self._step = step
        self._lease = ""
        self._stack = ExitStack()
        self._opened: OpenJob | None = None

    def __enter__(self) -> Distilling:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def prepare(self, lease: str) -> None:
        """Check the images, plan, and tell the front what the units are.

        Raises:
            LimbeckError: The job cannot be run, with what would work.
        """
        self._lease = lease
        meter = self._begin()
        pack = Pack.open(self.job.pack)
        self.job.check_step_cache(pack.manifest)
        source, picture_nbytes = checked_source(self.job, meter, self._step)
        opened = self._opened = self._stack.enter_context(
            OpenJob(self.job, pack, source, meter, self._step, self._note)
        )
        opened.make_plan(picture_nbytes)
        meter.restart()
        header, units = opened.header(), opened.units()
        self._prepared = {
            "header": header,
            "class_names": list(source.class_names),
            "class_folders": class_folders(source.class_names),
            "ipc": self.job.method.ipc,
            "num_units": len(units),
            "skipped": [list(one) for one in source.skipped],
            "layout": _LAYOUT.dump_python(opened.layout, mode="json") if opened.layout else None,
            "plan": {**describe(opened.plan), "budget_nbytes": self.job.budget_nbytes} if opened.plan else None,
        }
        self._send(
            prepared=worker_pb2.Prepared(
                lease=lease,
                prepared_json=json.dumps(self._prepared),
                units=[
                    worker_pb2.Unit(
                        index=unit.index,
                        class_ids=unit.class_ids,
                        num_images=len(unit.class_ids) * self.job.method.ipc,
                    )
                    for unit in units
                ],
                num_images=len(source.class_names) * self.job.method.ipc,
                plan_json=json.dumps(self._prepared["plan"]) if self._prepared["plan"] else "",
            )
        )

    def make(self, lease: str, units: Mapping[int, str]) -> None:
        """Make units, given by index with the address of their checkpoint or ""."""
        self._lease = lease
        sink = LeaseSink(lease, self._layout(), self._blobs, checkpoints=units, send=self._send, step=self._step)
        self._open().make(units.keys(), sink)

    def publish(self, lease: str, finished: Mapping[int, worker_pb2.UnitFinished], distilled_set: str) -> None:
        """Put the set in its place, from the files of all its units; what an earlier attempt left is continued."""
        self._lease = lease
        out = self.job.out
        if is_distilled(out):
            with suppress(OutputError):  # a worker died after the set was in its place; this removes what it left
                refuse_taken(out, resume=True)
        else:
            self._write(out, finished)
        verify_distilled(out, on_image=partial(self._step, "verifying"))
        self._send(
            published=worker_pb2.Published(
                lease=lease,
                distilled_set=distilled_set,
                path=str(out),
                files=self._listed(out),
                result_json=json.dumps({"memory": self._opened.memory()} if self._opened else {}),
            )
        )

    def _listed(self, out: Path) -> list[worker_pb2.SetFile]:
        """Every file of the set, with its digest."""
        paths = sorted(path for path in out.rglob("*") if path.is_file())
        listed = []
        for number, path in enumerate(paths, 1):
            listed.append(_set_file(out, path))
            self._step("listing", number, len(paths))
        return listed

    def _write(self, out: Path, finished: Mapping[int, worker_pb2.UnitFinished]) -> None:
        assert self._prepared is not None
        out.parent.mkdir(parents=True, exist_ok=True)
        with DistilledWriter.start(
            out,
            self._prepared["header"],
            class_names=self._prepared["class_names"],
            ipc=self._prepared["ipc"],
            num_units=len(finished),
            resume=True,
        ) as writer:
            for number, (index, unit) in enumerate(sorted(finished.items())):
                if index not in writer.finished_units():
                    writer.store_unit(self._encoded(unit), on_image=partial(self._step, "writing"))
                self._step("publishing", number + 1, len(finished))
            writer.finish()

    def _encoded(self, unit: worker_pb2.UnitFinished) -> EncodedUnit:
        """A finished unit, read back from the blobs."""
        rows = [json.loads(image.row_json) for image in unit.images]
        files: dict[str, bytes] = {}
        for number, (row, image) in enumerate(zip(rows, unit.images, strict=True), 1):
            files[row["file_name"]] = self._blobs.read(image.digest)
            self._step("reading", number, len(rows))
        arrays = unsealed(self._blobs.read(unit.arrays)) if unit.arrays else {}
        return EncodedUnit(unit.index, files, rows, arrays)

    def _begin(self) -> PeakMeter:
        """This process, ready for the job: libraries loaded, and memory limited."""
        self._stack.close()
        make_ready(self.job.method, self.job.budget_nbytes)
        self._stack.enter_context(limited(self.job.budget_nbytes))
        return self._stack.enter_context(PeakMeter())

    def _open(self) -> OpenJob:
        if self._opened is None:
            assert self._prepared is not None
            meter = self._begin()
            source = self._source()
            layout = self._prepared["layout"]
            self._opened = self._stack.enter_context(
                OpenJob(
                    self.job,
                    Pack.open(self.job.pack),
                    source,
                    meter,
                    self._step,
                    self._note,
                    layout=_LAYOUT.validate_python(layout) if layout else None,
                )
            )
        return self._opened

    def _source(self) -> StoredSource:
        """The job's images, as they were when it was prepared.

        Raises:
            DataError: There are others now.
        """
        assert self._prepared is not None
        found = open_source(self.job.data, **self.job.reading)
        source = found.without([(name, reason) for name, reason in self._prepared["skipped"]])
        before = self._prepared["header"]["source"]
        changed = [name for name, value in source.listing().items() if before[name] != value]
        if changed:
            raise DataError(
                f"the dataset is not what it was when the job began ({', '.join(changed)}): images or classes came, "
                "went or were renamed. What is finished belongs to the old one; submit the job again"
            )
        return source

    def _layout(self) -> UnitLayout:
        assert self._prepared is not None
        return UnitLayout(self._prepared["class_names"], self._prepared["class_folders"], self._prepared["ipc"])

    def _note(self, kind: str, detail: Mapping[str, object]) -> None:
        # the plan is told with what was prepared
        if kind != "plan":
            self._send(noted=worker_pb2.Noted(lease=self._lease, kind=kind, detail_json=json.dumps(dict(detail))))


def _set_file(folder: Path, path: Path) -> worker_pb2.SetFile:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return worker_pb2.SetFile(path=path.relative_to(folder).as_posix(), digest=digest, nbytes=path.stat().st_size)
