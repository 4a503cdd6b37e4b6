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
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

Json = Mapping[str, Any]
"""A JSON object."""

PREPARE = -1
"""The index of the unit that checks a job's images and counts its units."""
PUBLISH = -2
"""The index of the unit that puts the finished set in its place."""


class JobState(StrEnum):
    """Where a job stands. The last three are final."""

    PENDING = "pending"  # acknowledged; no worker has begun
    PREPARING = "preparing"
    RUNNING = "running"
    PUBLISHING = "publishing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class DatasetState(StrEnum):
    """Where a dataset stands."""

    UPLOADING = "uploading"
    CHECKING = "checking"  # whole; being unpacked and its images opened
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Failure:
    """Why something failed.

    Args:
        reason: A word in UPPER_SNAKE_CASE for programs, such as DATA_ERROR.
        message: For people; what was asked, what was found, what would work.
    """

    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as the ledger has it.

    Args:
        id: 32 hexadecimal digits.
        owner: The name of the token that created it; "" where none are asked for.
        kind: "distill" or "evaluate".
        spec: What was asked, validated (`spec.JobSpec`, as JSON).
        state: Where it stands.
        priority: Higher goes first; equal ones take turns.
        created_at, started_at, finished_at: Seconds since 1970, by the server's clock; for people only.
        num_units, finished_units: The method's own units; 0 until it is prepared.
        num_images, finished_images: Of the set that is made.
        waiting_for: What keeps it from going on, such as a full disk; "" if nothing does.
        cancel_requested: Somebody asked for its end, which comes within a step.
        failure: Why it failed.
        prepared: What `PREPARE` found: header, class names and folders, plan, layout, skipped images.
        result: What it came to: measured memory, or an evaluation's figures.
        distilled_set: The id of the set that it made, once published.
        sequence: Of its last event.
    """

    id: str
    owner: str
    kind: str
    spec: Json
    state: JobState
    priority: int = 0
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    num_units: int = 0
    finished_units: int = 0
    num_images: int = 0
    finished_images: int = 0
    waiting_for: str = ""
    cancel_requested: bool = False
    failure: Failure | None = None
    prepared: Json | None = None
    result: Json | None = None
    distilled_set: str | None = None
    sequence: int = 0


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job and is remembered.

    Args:
        job: The job's id.
        sequence: 1, 2, 3, … within the job, without a gap.
        at: Seconds since 1970.
        kind: "state" (detail: state, waiting_for, failure), "plan" (the plan), "out_of_memory" (bucket, was, reason),
            "unit" (index, finished_units, num_units, images: labels and positions), "retry" (index, reason),
            "checkpoint" (index).
        detail: What belongs to the kind.
    """

    job: str
    sequence: int
    at: float
    kind: str
    detail: Json


@dataclass(frozen=True)
class UnitSpec:
    """A unit of a job: the classes whose images it makes, and how many those are."""

    index: int
    class_ids: tuple[int, ...]
    num_images: int


@dataclass(frozen=True)
class LeasedUnit:
    """A unit that a worker holds, with the address of the last state that an earlier holder kept."""

    index: int
    class_ids: tuple[int, ...] = ()
    checkpoint: str | None = None


@dataclass(frozen=True)
class Lease:
    """A worker's claim on some units of one job. Without its token nothing is taken from the worker."""

    token: str
    worker: str
    job: Job
    units: tuple[LeasedUnit, ...]


@dataclass(frozen=True)
class StoredImage:
    """One finished image of a job.

    Args:
        label: Its class.
        position: 0..ipc-1 in its class; with the label it is the image's name in the job, and exactly one has it.
        digest: SHA-256 of the PNG file, its address among the blobs.
        nbytes: The file's length.
        row: Its row of metadata.jsonl.
    """

    label: int
    position: int
    digest: str
    nbytes: int
    row: Json


@dataclass(frozen=True)
class FinishedUnit:
    """What a worker made of a unit: its images are among the blobs already.

    Args:
        index: Which.
        images: All of them.
        arrays: The address of what was made beside images, sealed (`limbeck.data.arrays_file`); None if nothing was.
        result: An evaluation's figures.
    """

    index: int
    images: tuple[StoredImage, ...] = ()
    arrays: str | None = None
    result: Json | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Real images that jobs may use.

    Args:
        id: 32 hexadecimal digits.
        owner: The name of the token that brought it.
        display_name: What its owner calls it.
        path: Where it lies: a folder below an allowed root, or where an upload was unpacked.
        uploaded: Whether the server owns its files, and removes them with it.
        state: Where it stands.
        nbytes: Its files' size; of an upload that is under way, what it will be.
        num_images, num_classes: Once it is ready.
        digest: SHA-256 of the file that was uploaded.
        received_nbytes: Of an upload: how much is safe on disk; the next chunk begins here.
        created_at: Seconds since 1970.
        failure: Why it cannot be used.
    """

    id: str
    owner: str
    display_name: str
    path: str
    uploaded: bool
    state: DatasetState
    nbytes: int = 0
    num_images: int = 0
    num_classes: int = 0
    digest: str = ""
    received_nbytes: int = 0
    created_at: float
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class SetRecord:
    """A distilled set that a job published.

    Args:
        id: 32 hexadecimal digits.
        job: The job that made it.
        owner: Of the job.
        path: Its folder.
        files: Every file's path within the folder, with SHA-256 and length. A page of many sets leaves them out.
        created_at: Seconds since 1970.
    """

    id: str
    job: str
    owner: str
    path: str
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    created_at: float


@dataclass(frozen=True)
class Usage:
    """What an owner has now, to be held against a quota.

    Args:
        unfinished_jobs: Jobs that are not final.
        dataset_nbytes: What was uploaded; folders that were only registered do not count.
    """

    unfinished_jobs: int
    dataset_nbytes: int


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
    ) -> tuple[list[SetRecord], str]: ...

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
