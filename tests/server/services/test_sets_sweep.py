"""What a killed server left among the sets."""

from __future__ import annotations

from pathlib import Path

from limbeck_server.services.sets_sweep import sweep_sets
from limbeck_server.store.sqlite import SqliteStore


def test_only_unfinished_sets_of_jobs_that_do_not_go_on_are_removed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.sqlite")
    job, _ = store.create_job(owner="", request_id="", kind="distill", spec={"dataset": "datasets/a"})
    unknown = "0" * 32
    for name in (f".{job.id}.partial", f".{unknown}.partial", unknown, "notes"):
        (tmp_path / "sets" / name).mkdir(parents=True)
    assert sweep_sets(store, tmp_path / "sets") == 1
    left = {path.name for path in (tmp_path / "sets").iterdir()}
    assert left == {f".{job.id}.partial", unknown, "notes"}
    store.close()
