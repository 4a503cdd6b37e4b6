"""The ledger's seconds, and protobuf's well-known types for them."""

from __future__ import annotations

from google.protobuf import duration_pb2, timestamp_pb2


def timestamp_of(seconds: float | None) -> timestamp_pb2.Timestamp | None:
    """Seconds since 1970 as a timestamp, to the microsecond."""
    if seconds is None:
        return None
    stamp = timestamp_pb2.Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp


def duration_of(seconds: float) -> duration_pb2.Duration:
    """Seconds as a duration, to the microsecond."""
    duration = duration_pb2.Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration
