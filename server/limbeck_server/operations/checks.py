"""Looking at the ledger, the disk, the workers and the clock, again and again."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from limbeck_server.operations.metrics import Metrics
from limbeck_server.operations.state import Condition, ServerState
from limbeck_server.store.base import Store
from limbeck_server.store.errors import StoreCorruptError, StoreError, StoreFullError, StoreReadOnlyError
from limbeck_server.store.records import JobState
from limbeck_server.store.threaded import ThreadedStore
from limbeck_server.wire.places import text_without_root

_log = logging.getLogger(__name__)

_STORE_CONDITIONS = (
    Condition.DISK_FULL,
    Condition.DISK_READ_ONLY,
    Condition.LEDGER_CORRUPT,
    Condition.LEDGER_FAILING,
)
_KINDS: tuple[tuple[type[StoreError], Condition], ...] = (
    (StoreFullError, Condition.DISK_FULL),
    (StoreReadOnlyError, Condition.DISK_READ_ONLY),
    (StoreCorruptError, Condition.LEDGER_CORRUPT),
    (StoreError, Condition.LEDGER_FAILING),
)
# A worker that is recycled is away for a moment.
_LOOKS_WITHOUT_WORKERS = 3
_JUMP_SECONDS = 5.0


class Checks:
    """Keeps a `ServerState` and the gauges true.

    Args:
        store: The ledger.
        state: What is told.
        metrics: What is told.
        root: The folder whose disk's free space is measured.
        num_workers: How many workers are alive now.
        wall_clock: What the machine says of the time; only its jumps are of interest.
    """

    def __init__(
        self,
        store: ThreadedStore,
        state: ServerState,
        metrics: Metrics,
        *,
        root: Path,
        num_workers: Callable[[], int],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._state = state
        self._metrics = metrics
        self._root = root
        self._num_workers = num_workers
        self._wall_clock = wall_clock
        self._offset = wall_clock() - time.monotonic()
        self._looks_without_workers = 0

    async def run(self, *, interval_seconds: float = 5.0) -> None:
        """Look until cancelled. Each look writes a few bytes to the disk and waits for it."""
        while True:
            await self.look()
            await asyncio.sleep(interval_seconds)

    async def look(self) -> None:
        """Look once."""
        await self._look_at_store()
        self._look_at_workers()
        self._look_at_clock()
        try:
            self._metrics.disk_free(shutil.disk_usage(self._root).free)
        except OSError as error:
            _log.error("disk_unknown root=%s error=%s", self._root, error)
        for condition in Condition:
            self._metrics.condition(condition.value, condition in self._state.reasons)

    async def _look_at_store(self) -> None:
        try:
            counts = await self._store.run(_checked)
        except StoreError as error:
            found = next(condition for kind, condition in _KINDS if isinstance(error, kind))
            self._metrics.store_failed(found.name)
            self._state.enter(found, text_without_root(str(error), self._root))
            self._state.leave(*(condition for condition in _STORE_CONDITIONS if condition != found))
        else:
            self._state.leave(*_STORE_CONDITIONS)
            self._metrics.jobs(counts)

    def _look_at_workers(self) -> None:
        if self._num_workers():
            self._looks_without_workers = 0
            self._state.leave(Condition.NO_WORKERS)
            return
        self._looks_without_workers += 1
        if self._looks_without_workers >= _LOOKS_WITHOUT_WORKERS:
            self._state.enter(Condition.NO_WORKERS, "no worker process is alive")

    def _look_at_clock(self) -> None:
        offset = self._wall_clock() - time.monotonic()
        jumped, self._offset = offset - self._offset, offset
        if abs(jumped) > _JUMP_SECONDS:
            self._metrics.clock_jumped()
            _log.warning("clock_jumped seconds=%.1f effect=none_but_on_times_that_are_shown", jumped)


def _checked(store: Store) -> Mapping[JobState, int]:
    store.check()
    return store.counts()
