"""What the ledger remembers, as records: jobs, units, leases, images, events, datasets and distilled sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

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
        files: Every file's path within the folder, with SHA-256 and length.
        created_at: Seconds since 1970.
    """

    id: str
    job: str
    owner: str
    path: str
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    created_at: float

    def summary(self) -> SetSummary:
        """The same without its files."""
        nbytes = sum(nbytes for _, nbytes in self.files.values())
        return SetSummary(self.id, self.job, self.owner, len(self.files), nbytes, self.created_at)


@dataclass(frozen=True)
class SetSummary:
    """A distilled set as a page of many has it: without its files, of which there can be many.

    Args:
        id, job, owner, created_at: As in `SetRecord`.
        num_files, nbytes: Its files, and their length together.
    """

    id: str
    job: str
    owner: str
    num_files: int
    nbytes: int
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
