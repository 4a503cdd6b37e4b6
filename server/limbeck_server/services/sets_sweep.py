"""Folders of distilled sets that a killed server left behind."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

from limbeck_server.store.base import Store
from limbeck_server.store.errors import NotFoundError
from limbeck_server.store.records import FINAL

_log = logging.getLogger(__name__)

_PARTIAL = re.compile(r"\.(?P<id>[0-9a-f]{32})\.partial")
_WHOLE = re.compile(r"[0-9a-f]{32}")


def sweep_sets(store: Store, folder: Path) -> int:
    """Remove unfinished sets whose job does not go on; how many there were.

    A whole set that the ledger does not know stays, and the log names it: it may have been deleted when the server was
    killed, or the ledger may be an old backup, and then it is all that is left of its job.
    """
    swept = 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if found := _PARTIAL.fullmatch(path.name):
            if not _goes_on(store, found["id"]):
                shutil.rmtree(path, ignore_errors=True)
                _log.info("partial_set_swept folder=%s", path.name)
                swept += 1
        elif _WHOLE.fullmatch(path.name) and not _known(store, path.name):
            _log.warning("unknown_set_left folder=%s", path)
    return swept


def _known(store: Store, name: str) -> bool:
    """Whether the ledger has the set, or its job is about to publish it. A set has the id of its job."""
    try:
        store.distilled_set(name)
    except NotFoundError:
        return _goes_on(store, name)
    return True


def _goes_on(store: Store, job: str) -> bool:
    try:
        return store.job(job).state not in FINAL
    except NotFoundError:
        return False
