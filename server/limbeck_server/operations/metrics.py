"""The server's figures for Prometheus, under one registry that belongs to one server."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from limbeck_server.store.records import JobState

_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
_RATE_SECONDS = 60.0
# From a lookup in the ledger to a stream that is watched for a day.
_RPC_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600, 3600, 86400)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Everything that is counted and measured. What `/metrics` shows is documented with each method."""

    def __init__(self) -> None:
        """Start from zero; nothing is registered with the process's own registry."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._jobs = self._gauge("jobs", "Jobs, by where they stand.", "state")
        self._images = self._counter("images", "Images that were finished and are in the ledger.")
        self._rate = Rate(_RATE_SECONDS)
        self._gauge("images_per_second", "Finished images, over the last minute.").set_function(self._rate.per_second)
        self._planned = self._gauge("worker_planned_bytes", "Private memory that the worker's job may take.", "worker")
        self._private = self._gauge("worker_private_bytes", "Private memory that the worker takes.", "worker")
        self._busy = self._gauge("worker_busy", "1 if the worker has work, 0 if it waits for some.", "worker")
        self._cache = self._counter("engine_cache", "Engines taken from the cache, or made.", "result")
        self._lost = self._counter("lease_losses", "Leases that ended because their worker died or hung.")
        self._retries = self._counter("unit_retries", "Units that are tried again.", "reason")
        self._refusals = self._counter("refusals", "Calls that were refused.", "reason")
        self._rpcs = Histogram(
            "limbeck_rpc_seconds",
            "How long RPCs took.",
            ["method", "code"],
            registry=self.registry,
            buckets=_RPC_SECONDS,
        )
        self._streams = self._gauge("open_streams", "Streaming RPCs that are open.")
        self._store_errors = self._counter("store_errors", "Calls of the ledger that failed.", "reason")
        self._disk = self._gauge("disk_free_bytes", "Free space where the server keeps everything.")
        self._problems = self._gauge("condition", "1 while the server has this problem.", "condition")
        self._tokens = self._counter("token_file_problems", "Changes of the token file that could not be used.")
        self._jumps = self._counter("clock_jumps", "Times that the machine's clock was set.")
        self._cache_seen: dict[str, tuple[int, int]] = {}

    def rpc_done(self, method: str, code: str, seconds: float) -> None:
        """`limbeck_rpc_seconds{method,code}`."""
        self._rpcs.labels(method, code).observe(seconds)

    def refused(self, reason: str) -> None:
        """`limbeck_refusals_total{reason}`."""
        self._refusals.labels(_reason(reason)).inc()

    def jobs(self, counts: Mapping[JobState, int]) -> None:
        """`limbeck_jobs{state}`: how many are in each state now."""
        for state in JobState:
            self._jobs.labels(state.value).set(counts.get(state, 0))

    def images_finished(self, num: int) -> None:
        """`limbeck_images_total` and `limbeck_images_per_second`."""
        self._images.inc(num)
        self._rate.add(num)

    @property
    def images_per_second(self) -> float:
        """Over the last minute."""
        return self._rate.per_second()

    def lease_lost(self) -> None:
        """`limbeck_lease_losses_total`."""
        self._lost.inc()

    def unit_retried(self, reason: str) -> None:
        """`limbeck_unit_retries_total{reason}`."""
        self._retries.labels(_reason(reason)).inc()

    def worker_planned(self, worker: str, nbytes: int) -> None:
        """`limbeck_worker_planned_bytes{worker}`: what the plan of the job says that it has taken; 0 without a job."""
        self._planned.labels(worker).set(nbytes)

    def worker_seen(self, worker: str, *, busy: bool, private_nbytes: int, cache_hits: int, cache_misses: int) -> None:
        """`limbeck_worker_busy`, `limbeck_worker_private_bytes` and `limbeck_engine_cache_total{result}`.

        The cache's figures are those of the worker's process since it began; a new process begins at 0 again.
        """
        self._busy.labels(worker).set(busy)
        self._private.labels(worker).set(private_nbytes)
        hits, misses = self._cache_seen.get(worker, (0, 0))
        self._cache.labels("hit").inc(max(cache_hits - hits, 0))
        self._cache.labels("miss").inc(max(cache_misses - misses, 0))
        self._cache_seen[worker] = (cache_hits, cache_misses)

    def worker_gone(self, worker: str) -> None:
        """Forget a worker's process."""
        self._cache_seen.pop(worker, None)
        for gauge in (self._busy, self._private, self._planned):
            gauge.remove_by_labels({"worker": worker})

    def streams_from(self, num_open: Callable[[], int]) -> None:
        """`limbeck_open_streams`: asked whenever figures are."""
        self._streams.set_function(num_open)

    def store_failed(self, reason: str) -> None:
        """`limbeck_store_errors_total{reason}`."""
        self._store_errors.labels(_reason(reason)).inc()

    def disk_free(self, nbytes: int) -> None:
        """`limbeck_disk_free_bytes`."""
        self._disk.set(nbytes)

    def condition(self, name: str, present: bool) -> None:
        """`limbeck_condition{condition}`."""
        self._problems.labels(name).set(present)

    def token_file_unusable(self) -> None:
        """`limbeck_token_file_problems_total`."""
        self._tokens.inc()

    def clock_jumped(self) -> None:
        """`limbeck_clock_jumps_total`."""
        self._jumps.inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"limbeck_{name}", meaning, labels, registry=self.registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"limbeck_{name}", meaning, labels, registry=self.registry)


class Rate:
    """How many a second, over a time that has just passed."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._added: deque[tuple[float, int]] = deque()

    def add(self, num: int) -> None:
        """So many more, now."""
        self._forget()
        self._added.append((self._clock(), num))

    def per_second(self) -> float:
        """0 if there were none."""
        self._forget()
        return sum(num for _, num in self._added) / self._seconds

    def _forget(self) -> None:
        while self._added and self._added[0][0] < self._clock() - self._seconds:
            self._added.popleft()


def _reason(text: str) -> str:
    # A reason may come from a worker or a plug-in; each other one would be a new time series for ever.
    return text if _REASON.fullmatch(text) else "OTHER"
