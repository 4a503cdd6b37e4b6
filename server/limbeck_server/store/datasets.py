"""Datasets and distilled sets in the ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from limbeck_server.store.errors import QuotaError, RequestConflictError
from limbeck_server.store.pages import number_before, page_of
from limbeck_server.store.records import Dataset, SetRecord, SetSummary, Usage
from limbeck_server.store.rows import dataset_of, dataset_values, set_of, set_summary_of
from limbeck_server.store.tables import Tables

_CHANGEABLE = frozenset({"state", "path", "nbytes", "num_images", "num_classes", "received_nbytes", "failure"})


class DatasetTables(Tables):
    """The part of the store that knows datasets."""

    def create_dataset(
        self, *, owner: str, request_id: str, dataset: Dataset, max_nbytes: int | None = None
    ) -> tuple[Dataset, bool]:
        with self._change():
            if request_id and (row := self._ledger.row("dataset_by_request", owner=owner, request_id=request_id)):
                return _same_request(dataset_of(row), request_id, dataset), False
            if dataset.uploaded:
                self._refuse_too_much(owner, dataset.nbytes, max_nbytes)
            values = dataset_values(replace(dataset, owner=owner))
            self._ledger.run("insert_dataset", request_id=request_id or None, **values)
            return self.dataset(dataset.id), True

    def dataset(self, dataset: str) -> Dataset:
        return dataset_of(self._found(self._ledger.row("dataset_by_id", id=dataset), "dataset", dataset))

    def datasets(self, *, owner: str | None = None, limit: int = 50, after: str = "") -> tuple[list[Dataset], str]:
        query = ("datasets", owner)
        rows = self._ledger.rows("page_of_datasets", before=number_before(after, query), owner=owner, limit=limit + 1)
        return page_of(rows, limit, query, dataset_of)

    def update_dataset(self, dataset: str, **changes: Any) -> Dataset:
        if fixed := changes.keys() - _CHANGEABLE:
            raise TypeError(
                f"of a dataset {', '.join(sorted(fixed))} cannot change; {', '.join(sorted(_CHANGEABLE))} can"
            )
        with self._change():
            changed = replace(self.dataset(dataset), **changes)
            self._ledger.run("update_dataset", **dataset_values(changed))
            return changed

    def delete_dataset(self, dataset: str) -> None:
        with self._change():
            self.dataset(dataset)
            self._refuse_if_read("dataset", dataset)
            self._ledger.run("delete_dataset", id=dataset)

    def usage(self, owner: str) -> Usage:
        with self._ledger.look():
            unfinished = self._ledger.value("count_unfinished", owner=owner)
            return Usage(unfinished, self._ledger.value("dataset_nbytes", owner=owner))

    def _refuse_too_much(self, owner: str, nbytes: int, max_nbytes: int | None) -> None:
        taken = self._ledger.value("dataset_nbytes", owner=owner)
        if max_nbytes is not None and taken + nbytes > max_nbytes:
            raise QuotaError(
                f"a dataset of {nbytes:,} bytes does not fit: datasets of {owner or 'this server'} take {taken:,} of "
                f"{max_nbytes:,} bytes; delete one, or send a smaller one"
            )


class SetTables(Tables):
    """The part of the store that knows distilled sets."""

    def distilled_set(self, distilled_set: str) -> SetRecord:
        return set_of(self._found(self._ledger.row("set_by_id", id=distilled_set), "distilled set", distilled_set))

    def distilled_sets(
        self, *, owner: str | None = None, limit: int = 50, after: str = ""
    ) -> tuple[list[SetSummary], str]:
        query = ("distilled_sets", owner)
        rows = self._ledger.rows("page_of_sets", before=number_before(after, query), owner=owner, limit=limit + 1)
        return page_of(rows, limit, query, set_summary_of)

    def delete_distilled_set(self, distilled_set: str) -> None:
        with self._change():
            self.distilled_set(distilled_set)
            self._refuse_if_read("distilled set", distilled_set)
            self._ledger.run("delete_set", id=distilled_set)


def _same_request(earlier: Dataset, request_id: str, asked: Dataset) -> Dataset:
    """The dataset of an earlier request, if the same was asked; an upload's path is the server's own choice."""

    def what(dataset: Dataset) -> tuple[Any, ...]:
        place = None if dataset.uploaded else dataset.path
        return dataset.display_name, dataset.uploaded, dataset.digest, place

    if what(earlier) != what(asked):
        raise RequestConflictError(
            f"request_id {request_id[:100]!r} was used before, for dataset {earlier.id} with other content; "
            "a new dataset needs a new request_id"
        )
    return earlier
