"""What a server that died left among the datasets, removed before the next one serves."""

from __future__ import annotations

import logging

from limbeck_server.datasets.folders import DatasetFolders
from limbeck_server.datasets.listing import every_dataset
from limbeck_server.store.base import Store
from limbeck_server.store.records import DatasetState

logger = logging.getLogger(__name__)


def sweep(store: Store, folders: DatasetFolders) -> int:
    """Remove files that their dataset does not need any more; of how many datasets.

    The images of a dataset that the ledger does not know stay, and the log names them: it may have been deleted when
    the server was killed, or the ledger may be an old backup. Only names that the server gives are looked at. It must
    be the only one that runs on these folders.
    """
    states = {dataset.id: dataset.state for dataset in every_dataset(store) if dataset.uploaded}
    swept = 0
    for dataset in list(folders.found()):
        before = _there(folders, dataset)
        match states.get(dataset):
            case None:
                folders.remove_work(dataset)
                if folders.home(dataset).exists():
                    logger.warning("unknown_dataset_left folder=%s", folders.home(dataset))
            case DatasetState.FAILED:
                folders.remove(dataset)
            case DatasetState.READY:
                folders.remove_work(dataset)
            case DatasetState.UPLOADING | DatasetState.CHECKING:
                folders.remove_unpacked(dataset)
        if _there(folders, dataset) != before:
            swept += 1
            logger.info("dataset_leftovers_removed dataset=%s state=%s", dataset, states.get(dataset))
    return swept


def _there(folders: DatasetFolders, dataset: str) -> list[bool]:
    return [path.exists() for path in (folders.part(dataset), folders.unpacked(dataset), folders.home(dataset))]
