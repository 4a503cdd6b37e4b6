"""Jobs in the ledger: made, listed, cancelled and forgotten, with what happened to them and what they have made."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from sqlite3 import Row

from limbeck_server.store.errors import NotFinishedError, QuotaError, RequestConflictError
from limbeck_server.store.pages import number_before, page_of
from limbeck_server.store.records import FINAL, PREPARE, Job, JobEvent, JobState, Json, StoredImage
from limbeck_server.store.rows import event_of, image_of, job_of, text_of
from limbeck_server.store.tables import Tables


class JobTables(Tables):
    """The part of the store that knows jobs, events and images."""

    def create_job(
        self,
        *,
        owner: str,
        request_id: str,
        kind: str,
        spec: Json,
        priority: int = 0,
        max_unfinished: int | None = None,
    ) -> tuple[Job, bool]:
        with self._change():
            if request_id and (earlier := self._ledger.row("job_by_request", owner=owner, request_id=request_id)):
                return _same_request(earlier, request_id, kind, spec), False
            self._refuse_too_many(owner, max_unfinished)
            job = uuid.uuid4().hex
            self._ledger.run(
                "insert_job",
                id=job,
                owner=owner,
                request_id=request_id or None,
                kind=kind,
                spec=text_of(spec),
                priority=priority,
                now=self._clock(),
            )
            self._add_unit(job, PREPARE)
            self._add_state_event(job)
            return self._job(job), True

    def job(self, job: str) -> Job:
        return self._job(job)

    def jobs(
        self, *, owner: str | None = None, states: Sequence[JobState] = (), limit: int = 50, after: str = ""
    ) -> tuple[list[Job], str]:
        wanted = sorted(state.value for state in states)
        query = ("jobs", owner, wanted)
        rows = self._ledger.rows(
            "page_of_jobs", before=number_before(after, query), owner=owner, states=text_of(wanted), limit=limit + 1
        )
        return page_of(rows, limit, query, job_of)

    def request_cancel(self, job: str) -> Job:
        with self._change():
            now = self._job(job)
            if now.state in FINAL or now.cancel_requested:
                return now
            self._ledger.run("set_cancel_requested", job=job)
            if self._ledger.value("count_leases", job=job):
                self._add_state_event(job)
            else:
                self._set_state(job, JobState.CANCELLED)
            return self._job(job)

    def delete_job(self, job: str) -> None:
        with self._change():
            state = self._job(job).state
            if state not in FINAL:
                raise NotFinishedError(f"job {job} is {state.value}; cancel it, and delete it when it has ended")
            self._ledger.run("delete_job", id=job)
            self._touched[job] = None

    def events(self, job: str, *, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        with self._ledger.look():
            self._job_row(job)
            return [event_of(row) for row in self._ledger.rows("events_after", job=job, after=after, limit=limit)]

    def images(self, job: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, StoredImage]]:
        with self._ledger.look():
            self._job_row(job)
            rows = self._ledger.rows("images_after", job=job, after=after, limit=limit)
            return [(row["number"], image_of(row)) for row in rows]

    def set_waiting(self, job: str, reason: str) -> None:
        with self._change():
            now = self._job(job)
            if now.waiting_for != reason and now.state not in FINAL:
                self._ledger.run("set_waiting", job=job, reason=reason)
                self._add_state_event(job)

    def add_event(self, job: str, kind: str, detail: Json) -> JobEvent:
        with self._change():
            return self._add_event(job, kind, detail)

    def counts(self) -> Mapping[JobState, int]:
        found = {row["state"]: row["jobs"] for row in self._ledger.rows("count_by_state")}
        return {state: found.get(state.value, 0) for state in JobState}

    def _refuse_too_many(self, owner: str, max_unfinished: int | None) -> None:
        unfinished = self._ledger.value("count_unfinished", owner=owner)
        if max_unfinished is not None and unfinished >= max_unfinished:
            raise QuotaError(
                f"{unfinished} jobs of {owner or 'this server'} are not finished, and {max_unfinished} may be; "
                "wait for one to end, or cancel one"
            )


def _same_request(earlier: Row, request_id: str, kind: str, spec: Json) -> Job:
    job = job_of(earlier)
    if job.kind != kind or job.spec != json.loads(text_of(spec)):
        raise RequestConflictError(
            f"request_id {request_id[:100]!r} was used before, for job {job.id} with another spec; "
            "a new job needs a new request_id"
        )
    return job
