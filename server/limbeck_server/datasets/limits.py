"""What a server takes of datasets at most."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class DatasetLimits:
    """Limits of datasets.

    Args:
        upload_nbytes: Of an uploaded file.
        chunk_nbytes: Of a piece of it.
        max_pixels: Of an image, width times height.
        unpacked_nbytes: Of all that comes out of an archive.
        max_ratio: Of what comes out of an archive to its own size. Images hardly shrink in one, and what comes out
            is not held against a quota before it is out.
        num_entries: Files and folders in an archive.
        reserve_nbytes: Of the disk, which uploads leave free for the ledger and the jobs.
        sync_nbytes: After so many bytes of an upload the disk is waited for and the ledger told,
        sync_seconds: or after so long.
        idle_seconds: An upload's stream that brings nothing for so long is ended.
        check_seconds: Looking through a dataset may be silent for so long.
        retry_seconds: How long a dataset that cannot be looked through now, as the disk is full, waits.
    """

    upload_nbytes: int = 256 * 1024 * _MIB
    chunk_nbytes: int = 4 * _MIB
    max_pixels: int = 64_000_000
    unpacked_nbytes: int = 512 * 1024 * _MIB
    max_ratio: float = 20.0
    num_entries: int = 2_000_000
    reserve_nbytes: int = 256 * _MIB
    sync_nbytes: int = 16 * _MIB
    sync_seconds: float = 5.0
    idle_seconds: float = 60.0
    check_seconds: float = 900.0
    retry_seconds: float = 30.0
