"""The ledger of a root folder, and whether what lies beside it is its own."""

from __future__ import annotations

from pathlib import Path

from limbeck_server.store.errors import StoreCorruptError
from limbeck_server.store.sqlite import SqliteStore

_KEPT = ("sets", "datasets", "blobs", "uploads")


def open_ledger(root: Path) -> SqliteStore:
    """The ledger of a root. A new one is made only where nothing lies that an earlier one knew.

    Raises:
        StoreCorruptError: The ledger is damaged, empty or missing beside what it knew; nothing was changed.
        StoreError: As `SqliteStore`.
    """
    file = root / "ledger.sqlite"
    if not file.exists() or not file.stat().st_size:
        known = [name for name in _KEPT if (root / name).is_dir() and any((root / name).iterdir())]
        if known:
            state = "empty" if file.exists() else "missing"
            raise StoreCorruptError(
                f"{root} has {', '.join(known)}, and its ledger {file.name} is {state}; "
                "what lies there would be taken for leftovers. Restore the ledger from a backup of the same moment, or "
                "move these folders away and start with an empty root"
            )
    return SqliteStore(file)
