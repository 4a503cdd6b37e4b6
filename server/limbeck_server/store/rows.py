"""Rows of the ledger as the contract's records."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from limbeck_server.store.records import (
    Dataset,
    DatasetState,
    Failure,
    FinishedUnit,
    Job,
    JobEvent,
    JobState,
    LeasedUnit,
    SetRecord,
    SetSummary,
    StoredImage,
)


def text_of(value: Any) -> str:
    """JSON as it is stored: ASCII, since the name of a file on a disk need not be Unicode."""
    return json.dumps(value, separators=(",", ":"))


def job_of(row: sqlite3.Row) -> Job:
    """A row of `job`."""
    return Job(
        id=row["id"],
        owner=row["owner"],
        kind=row["kind"],
        spec=json.loads(row["spec"]),
        state=JobState(row["state"]),
        priority=row["priority"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        num_units=row["num_units"],
        finished_units=row["finished_units"],
        num_images=row["num_images"],
        finished_images=row["finished_images"],
        waiting_for=row["waiting_for"],
        cancel_requested=bool(row["cancel_requested"]),
        failure=_failure_of(row),
        prepared=_json_of(row["prepared"]),
        result=_json_of(row["result"]),
        distilled_set=row["distilled_set"],
        sequence=row["sequence"],
    )


def event_of(row: sqlite3.Row) -> JobEvent:
    """A row of `event`."""
    return JobEvent(row["job"], row["sequence"], row["at"], row["kind"], json.loads(row["detail"]))


def image_of(row: sqlite3.Row) -> StoredImage:
    """A row of `image`."""
    return StoredImage(row["label"], row["position"], row["digest"], row["nbytes"], json.loads(row["row"]))


def leased_unit_of(row: sqlite3.Row) -> LeasedUnit:
    """A row of `unit` that is to be done."""
    return LeasedUnit(row["number"], tuple(json.loads(row["class_ids"])), row["checkpoint"])


def finished_unit_of(row: sqlite3.Row, images: tuple[StoredImage, ...]) -> FinishedUnit:
    """A row of `unit` that is done, with its images."""
    return FinishedUnit(row["number"], images, row["arrays"], _json_of(row["result"]))


def dataset_of(row: sqlite3.Row) -> Dataset:
    """A row of `dataset`."""
    return Dataset(
        id=row["id"],
        owner=row["owner"],
        display_name=row["display_name"],
        path=row["path"],
        uploaded=bool(row["uploaded"]),
        state=DatasetState(row["state"]),
        nbytes=row["nbytes"],
        num_images=row["num_images"],
        num_classes=row["num_classes"],
        digest=row["digest"],
        received_nbytes=row["received_nbytes"],
        created_at=row["created_at"],
        failure=_failure_of(row),
    )


def dataset_values(dataset: Dataset) -> dict[str, Any]:
    """A dataset as the values of its row."""
    return {
        "id": dataset.id,
        "owner": dataset.owner,
        "display_name": dataset.display_name,
        "path": dataset.path,
        "uploaded": dataset.uploaded,
        "state": dataset.state.value,
        "nbytes": dataset.nbytes,
        "num_images": dataset.num_images,
        "num_classes": dataset.num_classes,
        "digest": dataset.digest,
        "received_nbytes": dataset.received_nbytes,
        "created_at": dataset.created_at,
        **failure_values(dataset.failure),
    }


def failure_values(failure: Failure | None) -> dict[str, str | None]:
    """A failure as the values of its two columns."""
    if failure is None:
        return {"failure_reason": None, "failure_message": None}
    message = failure.message.encode("utf-8", "backslashreplace").decode()  # it may name a file that is not Unicode
    return {"failure_reason": failure.reason, "failure_message": message}


def set_of(row: sqlite3.Row) -> SetRecord:
    """A row of `distilled_set`."""
    return SetRecord(
        id=row["id"],
        job=row["job"],
        owner=row["owner"],
        path=row["path"],
        files={path: (digest, nbytes) for path, (digest, nbytes) in json.loads(row["files"]).items()},
        created_at=row["created_at"],
    )


def set_summary_of(row: sqlite3.Row) -> SetSummary:
    """A row of a page of sets."""
    return SetSummary(row["id"], row["job"], row["owner"], row["num_files"], row["nbytes"], row["created_at"])


def _failure_of(row: sqlite3.Row) -> Failure | None:
    return None if row["failure_reason"] is None else Failure(row["failure_reason"], row["failure_message"])


def _json_of(text: str | None) -> Any:
    return None if text is None else json.loads(text)
