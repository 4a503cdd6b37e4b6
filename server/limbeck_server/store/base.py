"""What the server remembers: jobs, their units, images and events, datasets, uploads and distilled sets.

A `Store` is the server's only memory. What it has acknowledged is on disk before the call returns. Its calls are
synchronous and short; the front makes them on one thread beside its event loop.

A job's work is a row of units: first `PREPARE` (its images are checked and its units counted), then the method's own
units, last `PUBLISH`; an evaluation is `PREPARE` and units without images. A worker holds units under a lease. A lease
is a token, not a time: whether its worker still lives is judged by the front, which sees it (on a monotonic clock, so
that a clock that jumps loses nothing), and a front that starts frees every lease of the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from limbeck_server.store.records import (
    Dataset,
    Failure,
    FinishedUnit,
    Job,
    JobEvent,
    JobState,
    Json,
    Lease,
    SetRecord,
    SetSummary,
    StoredImage,
    UnitSpec,
    Usage,
)


class Store(Protocol):
    """The ledger. Every call that changes something has changed it durably when it returns, or not at all.

    Raises, from any call:
        StoreFullError: No space is left; nothing was changed.
        StoreReadOnlyError: The disk refuses writing; nothing was changed.
        StoreCorruptError: The file is damaged.
        NotFoundError: There is nothing of that id.
    """

    # jobs

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
        """A job, and whether this call made it; a repeated (owner, request_id) gives the first one.

        Args:
            request_id: The caller's word for this request; "" is never taken for a repetition.
            max_unfinished: The owner's quota, held in the same transaction.

        Raises:
            RequestConflictError: That request_id was used with another kind or spec.
            QuotaError: The owner has that many unfinished jobs.
        """
        ...

    def job(self, job: str) -> Job: ...

    def jobs(
        self, *, owner: str | None = None, states: Sequence[JobState] = (), limit: int = 50, after: str = ""
    ) -> tuple[list[Job], str]:
        """A page of jobs, newest first, and the opaque text that asks for the next page ("" after the last)."""
        ...

    def request_cancel(self, job: str) -> Job:
        """Ask for a job's end: at once if no unit is leased, else when the leases are freed. A final job stays."""
        ...

    def delete_job(self, job: str) -> None:
        """Forget a final job, its events and images; its distilled set stays.

        Raises:
            NotFinishedError: The job is not final.
        """
        ...

    def events(self, job: str, *, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        """What happened after that sequence number, in order."""
        ...

    def images(self, job: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, StoredImage]]:
        """Finished images in the order in which they were finished, each with its number in that order, from 1."""
        ...

    def set_waiting(self, job: str, reason: str) -> None:
        """Say what keeps a job from going on, or with "" that nothing does."""
        ...

    def add_event(self, job: str, kind: str, detail: Json) -> JobEvent:
        """Remember something that the store itself does not see."""
        ...

    # units

    def lease(self, worker: str, *, max_images: int, exclude: Sequence[str] = ()) -> Lease | None:
        """Claim units of the job whose turn it is: highest priority first, then the one that was served longest ago.

        Args:
            worker: Who claims.
            max_images: Units are added to the lease until it has this many images; at least one unit.
            exclude: Jobs that are passed over, such as those that wait for space on the disk.
        """
        ...

    def prepared(self, token: str, prepared: Json, units: Sequence[UnitSpec], *, num_images: int) -> None:
        """`PREPARE` is done: remember what it found, and the units.

        Raises:
            LeaseLostError: The token holds nothing (any more); so of the calls below.
        """
        ...

    def keep_checkpoint(self, token: str, unit: int, digest: str) -> None:
        """Remember how far a unit has come."""
        ...

    def finish_unit(self, token: str, unit: FinishedUnit) -> Job:
        """A unit is whole: its images exist from now on. The last one makes `PUBLISH` (or the job's end) due."""
        ...

    def finished_units(self, job: str) -> list[FinishedUnit]:
        """The method's own units that are whole, by index, with their images."""
        ...

    def published(self, token: str, distilled_set: SetRecord, result: Json) -> Job:
        """`PUBLISH` is done: the job has succeeded."""
        ...

    def free(self, token: str, *, retry: str = "", max_attempts: int = 3) -> Job:
        """End a lease; units of it that are not finished can be leased again.

        `prepared`, `finish_unit` and `published` leave the lease to be ended by this.

        Args:
            retry: Why its holder failed, "" if it did not; a unit that failed `max_attempts` times
                fails the job, unless something of the job was finished or kept in between: as long as it comes on, it
                may be killed as often as it likes.
        """
        ...

    def fail(self, token: str, failure: Failure) -> Job:
        """End a lease and the job with it: it would fail again. Every other lease of the job is lost."""
        ...

    def free_all(self) -> int:
        """Free every lease, as a front does when it starts; how many there were. Nobody is blamed for a retry."""
        ...

    def leases(self) -> list[Lease]:
        """Every lease that is held."""
        ...

    # datasets

    def create_dataset(
        self, *, owner: str, request_id: str, dataset: Dataset, max_nbytes: int | None = None
    ) -> tuple[Dataset, bool]:
        """A dataset, and whether this call made it; as `create_job`. `max_nbytes` is the owner's quota."""
        ...

    def dataset(self, dataset: str) -> Dataset: ...

    def datasets(self, *, owner: str | None = None, limit: int = 50, after: str = "") -> tuple[list[Dataset], str]: ...

    def update_dataset(self, dataset: str, **changes: Any) -> Dataset:
        """Change fields of a dataset: state, path, nbytes, num_images, num_classes, received_nbytes, failure."""
        ...

    def delete_dataset(self, dataset: str) -> None:
        """Forget a dataset.

        Raises:
            InUseError: An unfinished job reads it.
        """
        ...

    # distilled sets

    def distilled_set(self, distilled_set: str) -> SetRecord: ...

    def distilled_sets(
        self, *, owner: str | None = None, limit: int = 50, after: str = ""
    ) -> tuple[list[SetSummary], str]: ...

    def delete_distilled_set(self, distilled_set: str) -> None:
        """Forget a distilled set.

        Raises:
            InUseError: An unfinished job reads it.
        """
        ...

    # the whole

    def refers(self, digest: str) -> bool:
        """Whether an image, a checkpoint or a unit's arrays lie at that address among the blobs."""
        ...

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with a job's id after each call that added to its events, or forgot the job."""
        ...

    def usage(self, owner: str) -> Usage: ...

    def counts(self) -> Mapping[JobState, int]:
        """How many jobs are in each state."""
        ...

    def check(self) -> None:
        """Read and write a little, so that a full, read-only or damaged disk is seen; the errors say which."""
        ...

    def close(self) -> None: ...
