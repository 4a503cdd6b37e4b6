"""Datasets: the ledger's records to messages."""

from __future__ import annotations

from limbeck_server.rpc import datasets_pb2
from limbeck_server.store.records import Dataset
from limbeck_server.wire.jobs import failure_message
from limbeck_server.wire.names import dataset_name
from limbeck_server.wire.times import timestamp_of


def dataset_message(dataset: Dataset) -> datasets_pb2.Dataset:
    """A dataset as a client sees it; where the server keeps an upload is its own affair."""
    return datasets_pb2.Dataset(
        name=dataset_name(dataset.id),
        owner=dataset.owner,
        display_name=dataset.display_name,
        state=datasets_pb2.DatasetState.Value(f"DATASET_STATE_{dataset.state.name}"),
        uploaded=dataset.uploaded,
        path="" if dataset.uploaded else dataset.path,
        nbytes=dataset.nbytes,
        num_images=dataset.num_images,
        num_classes=dataset.num_classes,
        sha256=dataset.digest,
        received_nbytes=dataset.received_nbytes,
        create_time=timestamp_of(dataset.created_at),
        failure=failure_message(dataset.failure),
    )
