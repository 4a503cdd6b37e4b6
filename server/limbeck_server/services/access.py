"""Who sees what: everybody their own, an admin everything. What one may not see looks as if it were not there."""

from __future__ import annotations

from limbeck_server.store.base import Store
from limbeck_server.store.errors import NotFoundError
from limbeck_server.store.records import Dataset, Job, SetRecord
from limbeck_server.trust.identity import Identity


def shown_owner(caller: Identity) -> str | None:
    """Whose things a list shows; None is everybody's."""
    return None if caller.is_admin else caller.name


def visible_job(store: Store, job: str, caller: Identity) -> Job:
    """The job of that id.

    Raises:
        NotFoundError: There is none, or it is somebody else's; so of the functions below.
    """
    found = store.job(job)
    _refuse_foreign(found.owner, "job", job, caller)
    return found


def visible_dataset(store: Store, dataset: str, caller: Identity) -> Dataset:
    """The dataset of that id."""
    found = store.dataset(dataset)
    _refuse_foreign(found.owner, "dataset", dataset, caller)
    return found


def visible_set(store: Store, distilled_set: str, caller: Identity) -> SetRecord:
    """The distilled set of that id."""
    found = store.distilled_set(distilled_set)
    _refuse_foreign(found.owner, "distilled set", distilled_set, caller)
    return found


def _refuse_foreign(owner: str, kind: str, id: str, caller: Identity) -> None:
    if not caller.is_admin and owner != caller.name:
        raise NotFoundError(f"there is no {kind} {id!r}; it may have been deleted")
