"""What all parts of the SQLite store share: the ledger, the clock, a job's row, and its log of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from sqlite3 import Row

from limbeck_server.store.errors import InUseError, NotFoundError
from limbeck_server.store.ledger import Ledger
from limbeck_server.store.records import Failure, Job, JobEvent, JobState, Json
from limbeck_server.store.rows import failure_values, job_of, text_of


class Tables:
    """The ground on which the parts of the store stand."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        """Keep both; `clock` gives seconds since 1970."""
        self._ledger = ledger
        self._clock = clock
        self._touched: dict[str, None] = {}
        self._listeners: list[Callable[[str], None]] = []

    def on_change(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """A transaction, after which the listeners hear which jobs it has changed."""
        self._touched.clear()
        with self._ledger.change():
            yield
        for job in self._touched:
            for listener in self._listeners:
                listener(job)

    def _job_row(self, job: str) -> Row:
        return self._found(self._ledger.row("job_by_id", id=job), "job", job)

    def _job(self, job: str) -> Job:
        return job_of(self._job_row(job))

    def _found(self, row: Row | None, kind: str, id: str) -> Row:
        if row is None:
            raise NotFoundError(f"there is no {kind} {id[:100]!r}; it may have been deleted")
        return row

    def _add_event(self, job: str, kind: str, detail: Json) -> JobEvent:
        sequence = self._found(self._ledger.row("next_sequence", job=job), "job", job)["sequence"]
        event = JobEvent(job, sequence, self._clock(), kind, detail)
        self._ledger.run("insert_event", job=job, sequence=sequence, at=event.at, kind=kind, detail=text_of(detail))
        self._touched[job] = None
        return event

    def _set_state(self, job: str, state: JobState, failure: Failure | None = None) -> None:
        self._ledger.run("set_state", job=job, state=state.value, now=self._clock(), **failure_values(failure))
        self._add_state_event(job)

    def _add_state_event(self, job: str) -> None:
        now = self._job(job)
        failure = now.failure and {"reason": now.failure.reason, "message": now.failure.message}
        detail = {"state": now.state.value, "waiting_for": now.waiting_for, "failure": failure}
        self._add_event(job, "state", detail)

    def _add_unit(self, job: str, number: int, class_ids: tuple[int, ...] = (), num_images: int = 0) -> None:
        self._ledger.run("insert_unit", job=job, number=number, class_ids=text_of(class_ids), num_images=num_images)

    def _refuse_if_read(self, kind: str, id: str) -> None:
        if reader := self._ledger.row("unfinished_reader", id=id):
            raise InUseError(f"{kind} {id} is read by job {reader['id']}, which is not finished; cancel that first")
