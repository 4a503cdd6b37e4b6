"""A ledger belongs to what lies beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from limbeck_server.store.errors import StoreCorruptError
from limbeck_server.store.root import open_ledger


def test_an_empty_root_gets_a_ledger_and_keeps_it(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    (tmp_path / "sets" / ("0" * 32)).mkdir(parents=True)
    open_ledger(tmp_path).close()


@pytest.mark.parametrize("ledger", [None, b""])
@pytest.mark.parametrize("folder", ["sets", "datasets", "blobs"])
def test_no_new_ledger_is_made_beside_what_an_old_one_knew(tmp_path: Path, ledger: bytes | None, folder: str) -> None:
    kept = tmp_path / folder / "0123"
    kept.mkdir(parents=True)
    if ledger is not None:
        (tmp_path / "ledger.sqlite").write_bytes(ledger)
    with pytest.raises(StoreCorruptError, match=folder):
        open_ledger(tmp_path)
    assert kept.is_dir()
    assert (tmp_path / "ledger.sqlite").exists() == (ledger is not None)
