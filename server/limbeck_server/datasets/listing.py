"""All datasets of a ledger."""

from __future__ import annotations

from collections.abc import Iterator

from limbeck_server.store.base import Store
from limbeck_server.store.records import Dataset

_PAGE_SIZE = 1000


def every_dataset(store: Store) -> Iterator[Dataset]:
    """Every owner's datasets, newest first."""
    after = ""
    while True:
        page, after = store.datasets(limit=_PAGE_SIZE, after=after)
        yield from page
        if not after:
            return
