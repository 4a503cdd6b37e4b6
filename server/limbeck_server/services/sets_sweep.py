"""Folders of distilled sets that a killed server left behind."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

from limbeck_server.store.base import FINAL, Store
from limbeck_server.store.errors import NotFoundError

_log = logging.getLogger(__name__)

_OURS = re.compile(r"\.?(?P<id>[0-9a-f]{32})(\.partial)?")


def sweep_sets(store: Store, folder: Path) -> int:
    """Remove sets that the ledger has forgotten, and unfinished ones whose job does not go on; how many there were.

    A set of a job that goes on stays: its worker may have died between the last file and the ledger. Only names that
    the server gives are looked at.
    """
    swept = 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (found := _OURS.fullmatch(path.name)) and not _wanted(store, found["id"], path):
            shutil.rmtree(path, ignore_errors=True)
            _log.info("set_swept folder=%s", path.name)
            swept += 1
    return swept


def _wanted(store: Store, name: str, path: Path) -> bool:
    """Whether the ledger has the set, or its job still makes it. A set has the id of its job."""
    if not path.name.startswith("."):
        try:
            store.distilled_set(name)
        except NotFoundError:
            pass
        else:
            return True
    try:
        return store.job(name).state not in FINAL
    except NotFoundError:
        return False
