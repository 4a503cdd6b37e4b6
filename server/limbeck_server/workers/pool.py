"""The workers, from the front's side: started, given work, watched, and replaced.

One process at a time runs on a device. It claims nothing itself: the pool leases units from the ledger for it, writes
what it reports into the ledger, and frees the lease when it ends, however it ends. A worker that makes no step is
killed; one that has failed, has worked on many jobs or has waited long is replaced, which gives all its memory back.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc

from limbeck.errors import LimbeckError
from limbeck_server.engines.front import WorkerLostError
from limbeck_server.operations.tracing import Tracing
from limbeck_server.rpc import worker_pb2, worker_pb2_grpc
from limbeck_server.store.errors import ImageTakenError, LeaseLostError, NotFoundError
from limbeck_server.store.records import FINAL, Failure, Lease
from limbeck_server.workers.calls import PoolCalls, answer
from limbeck_server.workers.config import WorkerConfig
from limbeck_server.workers.handle import WorkerHandle, WorkerState
from limbeck_server.workers.ledger import WorkLedger
from limbeck_server.workers.spawning import spawn

_log = logging.getLogger(__name__)

_WATCH_SECONDS = 1.0
_START_SECONDS = 120.0
_FAST_DEATH_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 30.0
_LAST_SECONDS = 2.0
_SPACE_NBYTES = 2**20
"""Free space with which a job that waits for some is tried again; if that was too little, it waits again."""


class PoolEvents(Protocol):
    """Who is told what workers do; `operations.metrics.Metrics` is one."""

    def images_finished(self, num: int) -> None: ...

    def lease_lost(self) -> None: ...

    def unit_retried(self, reason: str) -> None: ...

    def worker_planned(self, worker: str, nbytes: int) -> None: ...

    def worker_seen(
        self, worker: str, *, busy: bool, private_nbytes: int, cache_hits: int, cache_misses: int
    ) -> None: ...

    def worker_gone(self, worker: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class PoolPolicy:
    """How workers are used; as in `ServerSettings`."""

    lease_images: int = 64
    turn_seconds: float = 60.0
    max_attempts: int = 3
    jobs_per_worker: int = 16
    idle_seconds: float = 300.0
    hang_seconds: float = 600.0


class WorkerPool(worker_pb2_grpc.WorkerServiceServicer):
    """All workers of a server.

    Args:
        ledger: Where units are leased and finished.
        root: The server's folder.
        socket: The Unix socket on which this service is served.
        devices: What workers run on, one worker each.
        config: How one works, given its device.
        policy: How they are used.
        events: Who is told.
        tracing: Makes spans of units and jobs.
    """

    def __init__(
        self,
        ledger: WorkLedger,
        *,
        root: Path,
        socket: Path,
        devices: Sequence[str],
        config: Callable[[str], WorkerConfig],
        policy: PoolPolicy,
        events: PoolEvents,
        tracing: Tracing,
    ) -> None:
        """Start nothing yet."""
        self._ledger = ledger
        self._root = root
        self._socket = socket
        self._devices = tuple(devices)
        self._config = config
        self._policy = policy
        self._events = events
        self._tracing = tracing
        self._handles: dict[str, WorkerHandle] = {}
        self.calls = PoolCalls(self._handles)
        """Direct calls, and changes of what is loaded for them."""
        self._tasks: list[asyncio.Task[None]] = []
        self._leasing = asyncio.Lock()
        self._waiting: set[str] = set()
        self._draining = False
        self._soon_done: set[asyncio.Task[None]] = set()

    # the pool's life

    async def start(self) -> None:
        """Free what an earlier front had leased, and start a worker on every device."""
        if freed := await self._ledger.free_all():
            _log.info("leases_freed count=%d", freed)
        self._tasks = [asyncio.create_task(self._keep(device)) for device in self._devices]
        self._tasks.append(asyncio.create_task(self._watch()))

    async def drain(self, deadline_seconds: float) -> None:
        """Stop every worker at the end of its step; those that are not done in time are killed. Leases are freed."""
        self._draining = True
        for handle in self._handles.values():
            if handle.lease is not None:
                handle.tell(stop=worker_pb2.Stop(lease=handle.lease.token))
            handle.end()
        keepers = self._tasks[:-1]
        if keepers:
            _, late = await asyncio.wait(keepers, timeout=deadline_seconds)
            for handle in self._handles.values():
                handle.kill("")
            if late:
                await asyncio.wait(late)
        for task in self._tasks:
            task.cancel()
        if self._soon_done:  # leases of lost workers are freed
            await asyncio.wait(self._soon_done, timeout=_LAST_SECONDS)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # what others ask of it

    def wake(self) -> None:
        """There may be work, or work that is not wanted any more."""
        for handle in self._handles.values():
            if handle.state is WorkerState.IDLE:
                self._soon(self._give(handle))
            elif handle.lease is not None:
                self._soon(self._stop_unwanted(handle, handle.lease))

    def workers(self) -> list[WorkerHandle]:
        """Every worker that there is now."""
        return list(self._handles.values())

    def beats(self, job: str) -> list[worker_pb2.Beat]:
        """The last signs of life of those who work on a job."""
        return [one.beat for one in self._handles.values() if one.lease is not None and one.lease.job.id == job]

    @property
    def trouble(self) -> str:
        """What keeps the pool from working; "" if nothing does."""
        if self._ledger.trouble:
            return self._ledger.trouble
        return "" if any(handle.answers for handle in self._handles.values()) else "no worker is ready"

    # one worker's stream

    async def Work(
        self, request_iterator: AsyncIterator[worker_pb2.WorkRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[worker_pb2.WorkResponse]:
        """A worker's stream, from its hello to its end."""
        hello = (await anext(request_iterator)).hello
        handle = self._handles.get(hello.worker)
        if handle is None or handle.state is not WorkerState.STARTING:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"no worker '{hello.worker}' is waited for")
            return
        config = asdict(self._config(handle.device))
        yield worker_pb2.WorkResponse(welcome=worker_pb2.Welcome(config_json=json.dumps(config)))
        handle.state = WorkerState.IDLE
        _log.info("worker_ready worker=%s device=%s pid=%d", handle.worker, handle.device, hello.pid)
        self._soon(self._give(handle))
        listener = asyncio.create_task(self._listen(handle, request_iterator))
        try:
            while (message := await handle.outbox.get()) is not None:
                yield message
        finally:
            listener.cancel()

    async def _listen(self, handle: WorkerHandle, requests: AsyncIterator[worker_pb2.WorkRequest]) -> None:
        try:
            async for request in requests:
                try:
                    await self._take(handle, request)
                except LeaseLostError as error:
                    _log.warning("report_refused worker=%s: %s", handle.worker, error)
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("worker_stream_failed worker=%s", handle.worker)
            handle.kill("its reports could not be taken")
        finally:
            handle.outbox.put_nowait(None)

    async def _take(self, handle: WorkerHandle, request: worker_pb2.WorkRequest) -> None:
        """What a worker said."""
        kind = request.WhichOneof("message")
        if kind == "beat":
            beat = request.beat
            handle.heard(beat)
            self._events.worker_seen(
                handle.worker,
                busy=beat.busy,
                private_nbytes=beat.private_nbytes,
                cache_hits=beat.cache_hits,
                cache_misses=beat.cache_misses,
            )
        elif kind == "call_answered":
            answer(handle.calls, request.call_answered)
        elif kind == "engines_loaded":
            said = request.engines_loaded
            handle.engines = {(one.pack, one.role): one.engine for one in said.engines}
            answer(handle.changes, said)
        elif handle.lease is None:
            raise LeaseLostError(f"{kind} from a worker without work")
        elif kind == "prepared":
            await self._ledger.prepared(request.prepared)
            self.wake()
        elif kind == "unit_finished":
            await self._unit_finished(handle, handle.lease, request.unit_finished)
        elif kind == "checkpoint_kept":
            await self._ledger.checkpoint_kept(request.checkpoint_kept)
            await self._give_way(handle, handle.lease)
        elif kind == "noted":
            await self._ledger.noted(handle.lease.job.id, request.noted)
        elif kind == "published":
            await self._ledger.published(handle.lease.job, request.published)
        elif kind == "lease_ended":
            await self._lease_ended(handle, handle.lease, request.lease_ended)

    async def _unit_finished(self, handle: WorkerHandle, lease: Lease, said: worker_pb2.UnitFinished) -> None:
        try:
            await self._ledger.unit_finished(said)
        except ImageTakenError as error:  # the method's fault: it would do so again
            await self._fail(lease, Failure("METHOD_FAULT", str(error)))
            return
        count = len(said.images)
        self._events.images_finished(count)
        seconds = time.monotonic() - handle.leased_at
        self._tracing.unit_finished(lease.job.id, said.index, worker=handle.worker, seconds=seconds, num_images=count)

    async def _lease_ended(self, handle: WorkerHandle, lease: Lease, said: worker_pb2.LeaseEnded) -> None:
        job = lease.job.id
        self._ledger.peaks[job] = max(self._ledger.peaks.get(job, 0), said.peak_nbytes)
        failed = said.outcome == worker_pb2.OUTCOME_RETRY
        try:
            if said.outcome == worker_pb2.OUTCOME_FAILED:
                await self._fail(lease, Failure(said.reason, said.message))
            else:
                await self._free(lease, said.reason, said.message if failed else "")
            if said.outcome == worker_pb2.OUTCOME_DISK_FULL:
                self._waiting.add(job)
                await self._ledger.set_waiting(job, said.message)
        finally:
            handle.rest()
            self._events.worker_planned(handle.worker, 0)
        if failed or lease.job.kind == "evaluate" or len(handle.jobs) >= self._policy.jobs_per_worker:
            handle.end()
        self.wake()

    async def _free(self, lease: Lease, reason: str, retry: str) -> None:
        """End a lease; `retry` says why its holder failed, "" if it did not, and `reason` the same in a word."""
        job = await self._ledger.free(lease.token, retry=retry, max_attempts=self._policy.max_attempts)
        if job.state in FINAL:
            self._tracing.job_finished(job)
        if retry:
            self._events.unit_retried(reason)
            _log.warning("units_retried job=%s state=%s reason=%s", job.id, job.state, retry)

    async def _fail(self, lease: Lease, failure: Failure) -> None:
        """End a lease and its job."""
        self._tracing.job_finished(await self._ledger.fail(lease.token, failure))

    # work

    async def _give(self, handle: WorkerHandle) -> None:
        """Lease units for an idle worker, if there are any."""
        async with self._leasing:
            if handle.state is not WorkerState.IDLE or self._draining:
                return
            lease = await self._ledger.lease(
                handle.worker, max_images=self._policy.lease_images, exclude=sorted(self._waiting)
            )
            if lease is None:
                return
            handle.begin(lease)
        plan = (lease.job.prepared or {}).get("plan") or {}
        self._events.worker_planned(handle.worker, plan.get("peak_nbytes", 0))
        try:
            handle.tell(assignment=await self._ledger.assignment(lease))
            _log.info("units_leased job=%s worker=%s units=%d", lease.job.id, handle.worker, len(lease.units))
        except LimbeckError as error:
            await self._fail(lease, Failure("NOT_FOUND", str(error)))
            handle.rest()
            self._soon(self._give(handle))

    async def _stop_unwanted(self, handle: WorkerHandle, lease: Lease) -> None:
        """Let a worker stop at its next step if its job was cancelled."""
        if await self._ledger.is_cancelled(lease.job.id):
            handle.tell(stop=worker_pb2.Stop(lease=lease.token))

    async def _give_way(self, handle: WorkerHandle, lease: Lease) -> None:
        """Let a long unit stop at its checkpoint once its turn is over and another job waits for one."""
        if time.monotonic() - handle.leased_at < self._policy.turn_seconds:
            return
        held = {one.lease.job.id for one in self._handles.values() if one.lease is not None}
        if await self._ledger.somebody_waits(lease.job, held):
            handle.tell(stop=worker_pb2.Stop(lease=lease.token))

    # processes

    async def _keep(self, device: str) -> None:
        """Keep a worker on a device, one process after another."""
        pause = 0.0
        while not self._draining:
            began = time.monotonic()
            handle = await self._spawn(device)
            if self._draining:
                handle.kill("")
            code = await handle.process.wait()
            self._lost(handle, code)
            fast = handle.ended_for is None and time.monotonic() - began < _FAST_DEATH_SECONDS
            pause = min(max(1.0, 2 * pause), _LONGEST_PAUSE_SECONDS) if fast else 0.0
            if pause and not self._draining:
                await asyncio.sleep(pause)

    async def _spawn(self, device: str) -> WorkerHandle:
        worker = uuid.uuid4().hex[:12]
        process = await spawn(worker, device=device, socket=self._socket, root=self._root)
        handle = self._handles[worker] = WorkerHandle(worker, device, process)
        return handle

    def _lost(self, handle: WorkerHandle, code: int) -> None:
        """A worker's process has ended."""
        del self._handles[handle.worker]
        handle.died(WorkerLostError(f"worker {handle.worker} has ended"))
        self._events.worker_gone(handle.worker)
        _log.info("worker_ended worker=%s code=%d", handle.worker, code)
        if handle.lease is not None:
            # apart: while the disk is full this takes long, and the next worker should not wait for it
            self._soon(self._free_lost(handle, handle.lease, code))

    async def _free_lost(self, handle: WorkerHandle, lease: Lease, code: int) -> None:
        blamed = f"its worker ended with {code}" if handle.ended_for is None else handle.ended_for
        if blamed:
            self._events.lease_lost()
        with suppress(LeaseLostError):  # its last word may have freed it
            await self._free(lease, "WORKER_LOST", blamed)
        self.wake()

    async def _watch(self) -> None:
        """Look after everything again and again; one look that fails does not end the looking."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                self._look_after_workers()
                await self._look_after_waiting()
            except Exception:
                _log.exception("watch_failed")
            self.wake()

    def _look_after_workers(self) -> None:
        """End workers that hang, start too slowly or have waited long."""
        now, policy = time.monotonic(), self._policy
        for handle in list(self._handles.values()):
            still = now - handle.progressed_at
            if handle.state is WorkerState.STARTING and still > _START_SECONDS:
                handle.kill(f"it did not start in {_START_SECONDS:.0f} s")
            elif handle.lease is not None and self._ledger.trouble:
                handle.progressed_at = now  # it is not heard while its reports cannot be written
            elif handle.lease is not None and still > policy.hang_seconds:
                handle.kill(f"it made no step for {policy.hang_seconds:.0f} s")
            elif handle.state is WorkerState.IDLE and handle.jobs and now - handle.rests_since > policy.idle_seconds:
                handle.end()

    async def _look_after_waiting(self) -> None:
        """Let jobs that wait for space go on when there is some."""
        if self._waiting and shutil.disk_usage(self._root).free > _SPACE_NBYTES:
            waiting, self._waiting = self._waiting, set()
            for job in sorted(waiting):
                with suppress(NotFoundError):  # it was deleted meanwhile
                    await self._ledger.set_waiting(job, "")

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside this; a task that nobody holds may vanish, so it is held."""
        task = asyncio.create_task(work)
        self._soon_done.add(task)
        task.add_done_callback(self._soon_done.discard)
