"""What a store refuses, and the states of a disk that it reports."""

from __future__ import annotations

from limbeck.errors import LimbeckError


class StoreError(LimbeckError):
    """The base of every error that a store raises on purpose."""


class NotFoundError(StoreError):
    """There is nothing of that id."""


class RequestConflictError(StoreError):
    """A request_id was used before, for something else."""


class QuotaError(StoreError):
    """The owner has as much as the quota allows."""


class NotFinishedError(StoreError):
    """A job that still runs cannot be deleted; cancel it first."""


class InUseError(StoreError):
    """A dataset that an unfinished job reads cannot be deleted."""


class LeaseLostError(StoreError):
    """A lease was freed before its holder was done: what it brings is not taken."""


class ImageTakenError(StoreError):
    """A unit brings an image that another unit of its job has made already."""


class RootInUseError(StoreError):
    """Another server process works on this root folder."""


class StoreFullError(StoreError):
    """No space is left for the ledger; nothing was changed."""


class StoreReadOnlyError(StoreError):
    """The ledger's disk refuses writing; nothing was changed."""


class StoreCorruptError(StoreError):
    """The ledger's file is damaged; the server does not start on it, and changes nothing in it."""
