"""Units in the ledger: leased to workers, finished once, tried again, and what a job's state becomes by that."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from itertools import groupby
from sqlite3 import Row
from typing import Any

from limbeck_server.store.errors import ImageTakenError, LeaseLostError
from limbeck_server.store.records import (
    FINAL,
    PREPARE,
    PUBLISH,
    Failure,
    FinishedUnit,
    Job,
    JobState,
    Json,
    Lease,
    SetRecord,
    StoredImage,
    UnitSpec,
)
from limbeck_server.store.rows import finished_unit_of, image_of, leased_unit_of, text_of
from limbeck_server.store.tables import Tables


class UnitTables(Tables):
    """The part of the store that knows units and leases."""

    def lease(self, worker: str, *, max_images: int, exclude: Sequence[str] = ()) -> Lease | None:
        with self._change():
            served = self._ledger.row("job_to_serve", exclude=text_of(list(exclude)))
            if served is None:
                return None
            job, token = served["id"], uuid.uuid4().hex
            self._ledger.run("insert_lease", token=token, worker=worker, job=job)
            # a unit without images (an evaluation's, or one that prepares or publishes) counts as one
            waiting = self._ledger.rows("units_to_lease", job=job, limit=max(max_images, 1))
            for row in _first_units(waiting, max_images):
                self._ledger.run("give_unit", token=token, job=job, number=row["number"])
            self._ledger.run("take_turn", job=job)
            if self._job(job).state is JobState.PENDING:
                self._set_state(job, JobState.PREPARING)
            return self._lease(token)

    def prepared(self, token: str, prepared: Json, units: Sequence[UnitSpec], *, num_images: int) -> None:
        with self._change():
            job = self._holder(token, PREPARE)["job"]
            self._finish(job, PREPARE)
            self._ledger.run(
                "set_prepared", job=job, prepared=text_of(prepared), num_units=len(units), num_images=num_images
            )
            for unit in units:
                self._add_unit(job, unit.index, unit.class_ids, unit.num_images)
            self._set_state(job, JobState.RUNNING)
            if plan := prepared.get("plan"):
                self._add_event(job, "plan", plan)
            self._end_if_whole(job)

    def keep_checkpoint(self, token: str, unit: int, digest: str) -> None:
        with self._change():
            job = self._holder(token, unit)["job"]
            self._ledger.run("keep_checkpoint", job=job, number=unit, digest=digest)
            self._ledger.run("forget_attempts", job=job)
            self._add_event(job, "checkpoint", {"index": unit})

    def finish_unit(self, token: str, unit: FinishedUnit) -> Job:
        with self._change():
            job = self._holder(token, unit.index)["job"]
            first = self._job(job).finished_images + 1
            for number, image in enumerate(unit.images, first):
                self._add_image(job, unit.index, number, image)
            self._finish(job, unit.index, arrays=unit.arrays, result=_text_or_none(unit.result))
            self._ledger.run("add_finished", job=job, num_images=len(unit.images))
            now = self._job(job)
            detail = {
                "index": unit.index,
                "finished_units": now.finished_units,
                "num_units": now.num_units,
                "images": [[image.label, image.position] for image in unit.images],
            }
            self._add_event(job, "unit", detail)
            self._end_if_whole(job)
            return self._job(job)

    def finished_units(self, job: str) -> list[FinishedUnit]:
        with self._ledger.look():
            self._job_row(job)
            rows = groupby(self._ledger.rows("images_by_unit", job=job), key=lambda row: row["unit"])
            images = {unit: tuple(map(image_of, group)) for unit, group in rows}
            units = self._ledger.rows("finished_units", job=job)
            return [finished_unit_of(unit, images.get(unit["number"], ())) for unit in units]

    def published(self, token: str, distilled_set: SetRecord, result: Json) -> Job:
        with self._change():
            job = self._holder(token, PUBLISH)["job"]
            self._finish(job, PUBLISH)
            self._ledger.run(
                "insert_set",
                id=distilled_set.id,
                job=job,
                owner=distilled_set.owner,
                path=distilled_set.path,
                files=text_of(distilled_set.files),
                created_at=distilled_set.created_at,
            )
            self._ledger.run("set_result", job=job, result=text_of(result), distilled_set=distilled_set.id)
            self._set_state(job, JobState.SUCCEEDED)
            return self._job(job)

    def free(self, token: str, *, retry: str = "", max_attempts: int = 3) -> Job:
        with self._change():
            job = self._lease_row(token)["job"]
            failed = self._count_attempts(token, retry, max_attempts) if retry else None
            self._ledger.run("delete_lease", token=token)
            self._after_lease(job, failed)
            return self._job(job)

    def fail(self, token: str, failure: Failure) -> Job:
        with self._change():
            job = self._lease_row(token)["job"]
            self._ledger.run("delete_lease", token=token)
            self._fail(job, failure)
            return self._job(job)

    def free_all(self) -> int:
        with self._change():
            held = self._ledger.rows("all_leases")
            for row in held:
                self._ledger.run("delete_lease", token=row["token"])
            for job in {row["job"]: None for row in held}:
                self._after_lease(job, None)
            return len(held)

    def leases(self) -> list[Lease]:
        with self._ledger.look():
            return [self._lease(row["token"]) for row in self._ledger.rows("all_leases")]

    def refers(self, digest: str) -> bool:
        return bool(self._ledger.value("refers", digest=digest))

    def _lease(self, token: str) -> Lease:
        row = self._lease_row(token)
        units = tuple(leased_unit_of(unit) for unit in self._ledger.rows("units_of_lease", token=token))
        return Lease(token, row["worker"], self._job(row["job"]), units)

    def _lease_row(self, token: str) -> Row:
        row = self._ledger.row("lease_by_token", token=token)
        if row is None:
            raise LeaseLostError(
                f"lease {token[:100]!r} was freed; what it brings is not taken, its units are done again"
            )
        return row

    def _holder(self, token: str, unit: int) -> Row:
        """The lease, if it holds that unit."""
        lease = self._lease_row(token)
        if not self._ledger.row("held_unit", token=token, job=lease["job"], number=unit):
            raise LeaseLostError(f"lease {token} does not hold unit {unit} of job {lease['job']} (any more)")
        return lease

    def _finish(self, job: str, unit: int, arrays: str | None = None, result: str | None = None) -> None:
        self._ledger.run("finish_unit", job=job, number=unit, arrays=arrays, result=result)
        self._ledger.run("forget_attempts", job=job)

    def _add_image(self, job: str, unit: int, number: int, image: StoredImage) -> None:
        if taken := self._ledger.row("image_at", job=job, label=image.label, position=image.position):
            raise ImageTakenError(
                f"unit {unit} of job {job} brings image {image.position} of class {image.label}, which unit "
                f"{taken['unit']} has made; a method's units must not share images"
            )
        self._ledger.run(
            "insert_image",
            job=job,
            label=image.label,
            position=image.position,
            unit=unit,
            number=number,
            digest=image.digest,
            nbytes=image.nbytes,
            row=text_of(image.row),
        )

    def _end_if_whole(self, job: str) -> None:
        """When the last unit is finished, publishing is due; an evaluation is at its end."""
        now = self._job(job)
        if now.finished_units < now.num_units:
            return
        if now.kind == "evaluate":
            figures = [finished_unit_of(row, ()).result for row in self._ledger.rows("finished_units", job=job)]
            self._ledger.run("set_result", job=job, result=text_of({"units": figures}), distilled_set=None)
            self._set_state(job, JobState.SUCCEEDED)
        else:
            self._add_unit(job, PUBLISH)
            self._set_state(job, JobState.PUBLISHING)

    def _count_attempts(self, token: str, reason: str, max_attempts: int) -> Failure | None:
        """Blame the units that a lease still holds; its failure, if one has failed too often in a row."""
        failure = None
        for row in self._ledger.rows("units_of_lease", token=token):
            job, unit = row["job"], row["number"]
            attempts = self._ledger.value("count_attempt", job=job, number=unit)
            self._add_event(job, "retry", {"index": unit, "reason": reason})
            if attempts >= max_attempts:
                failure = Failure(
                    "WORKER_FAULT",
                    f"unit {unit} failed {attempts} times, and nothing of the job was finished or kept in between; "
                    f"the last time: {reason}",
                )
        return failure

    def _after_lease(self, job: str, failure: Failure | None) -> None:
        """What a job becomes when a lease of it has ended."""
        now = self._job(job)
        if now.state in FINAL:
            return
        if now.cancel_requested:
            if not self._ledger.value("count_leases", job=job):
                self._set_state(job, JobState.CANCELLED)
        elif failure:
            self._fail(job, failure)

    def _fail(self, job: str, failure: Failure) -> None:
        """A job fails as a whole: what other workers make of it is not taken."""
        if self._job(job).state not in FINAL:
            self._ledger.run("delete_leases_of_job", job=job)
            self._set_state(job, JobState.FAILED, failure)


def _first_units(waiting: Sequence[Row], max_images: int) -> Iterator[Row]:
    """Units until they have so many images, at least one."""
    images = 0
    for row in waiting:
        yield row
        images += max(row["num_images"], 1)
        if images >= max_images:
            return


def _text_or_none(value: Any) -> str | None:
    return None if value is None else text_of(value)
