"""Why an upload is refused, as the wire says it. Each says how much is safe, so that the caller can go on there."""

from __future__ import annotations

import grpc

from limbeck_server.store.records import Dataset
from limbeck_server.wire.refusal import Refusal, RefusedError

_FULL_SECONDS = 30.0
_BUSY_SECONDS = 5.0


def wrong_offset(offset: int, received_nbytes: int) -> RefusedError:
    """A chunk that does not begin where the one before ended."""
    message = f"a chunk begins at byte {offset:,}, the next one to come begins at {received_nbytes:,}; go on there"
    return _refused(grpc.StatusCode.OUT_OF_RANGE, "WRONG_OFFSET", message, received_nbytes)


def wrong_checksum(offset: int, received_nbytes: int) -> RefusedError:
    """A chunk that was damaged on its way."""
    message = f"the chunk at byte {offset:,} does not have its CRC-32; send it again from byte {received_nbytes:,}"
    return _refused(grpc.StatusCode.DATA_LOSS, "CHECKSUM_MISMATCH", message, received_nbytes, retry_seconds=0)


def too_long(end: int, nbytes: int, received_nbytes: int) -> RefusedError:
    """More than was announced."""
    message = f"a chunk ends at byte {end:,}, the upload was announced with {nbytes:,}; start one of the real size"
    return _refused(grpc.StatusCode.OUT_OF_RANGE, "UPLOAD_TOO_LONG", message, received_nbytes)


def silent(seconds: float, received_nbytes: int) -> RefusedError:
    """A stream that brings nothing."""
    message = f"nothing came for {seconds:g} s; open the stream again and go on at byte {received_nbytes:,}"
    return _refused(grpc.StatusCode.DEADLINE_EXCEEDED, "UPLOAD_IDLE", message, received_nbytes, retry_seconds=0)


def no_space(what: str, received_nbytes: int) -> RefusedError:
    """The disk is full, or would be."""
    message = f"{what}; what was received is kept: go on at byte {received_nbytes:,} when there is space"
    code = grpc.StatusCode.UNAVAILABLE
    return _refused(code, "DISK_FULL", message, received_nbytes, retry_seconds=_FULL_SECONDS)


def busy(id: str) -> RefusedError:
    """A second stream."""
    return RefusedError(
        Refusal(
            code=grpc.StatusCode.ABORTED,
            reason="UPLOAD_BUSY",
            message=f"dataset {id} is being uploaded by another stream; one at a time can",
            retry_seconds=_BUSY_SECONDS,
        )
    )


def not_uploading(dataset: Dataset) -> RefusedError:
    """A dataset that takes no bytes (any more)."""
    why = dataset.failure.message if dataset.failure else "it was registered, not uploaded"
    message = f"dataset {dataset.id} is {dataset.state.value} and takes no bytes: {why}"
    return _refused(grpc.StatusCode.FAILED_PRECONDITION, "NOT_UPLOADING", message, dataset.received_nbytes)


def wrong_digest(dataset: Dataset, found: str) -> RefusedError:
    """A whole file that is another than was announced."""
    message = (
        f"the file's SHA-256 is {found}, the upload was announced with {dataset.digest}; "
        "delete this dataset and start another upload"
    )
    return _refused(grpc.StatusCode.DATA_LOSS, "DIGEST_MISMATCH", message, 0)


def _refused(
    code: grpc.StatusCode, reason: str, message: str, received_nbytes: int, *, retry_seconds: float | None = None
) -> RefusedError:
    metadata = {"received_nbytes": str(received_nbytes)}
    return RefusedError(
        Refusal(code=code, reason=reason, message=message, retry_seconds=retry_seconds, metadata=metadata)
    )
