"""What the front knows of one worker process."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from limbeck_server.rpc import worker_pb2
from limbeck_server.store.records import Lease


class WorkerState(StrEnum):
    """What a worker does."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    ENDING = "ending"
    DEAD = "dead"


@dataclass
class WorkerHandle:
    """One worker process, from its start to its end.

    Args:
        worker: Its id.
        device: What it runs on.
        process: It.
        state: What it does.
        outbox: What it is to be told; None ends its stream.
        lease: What it works on.
        beat: Its last sign of life.
        leased_at: When it was given its last work, on the monotonic clock.
        progressed_at: When it made its last step, on the monotonic clock.
        rests_since: When it had its last work, on the monotonic clock.
        jobs: The jobs that it has worked on.
        engines: The key of every engine that it has loaded for direct calls, by pack and role.
        calls: The answers that are waited for, by call.
        changes: Likewise, of engine changes.
        ended_for: Why the front ended it; "" without blame, None if the front did not.
    """

    worker: str
    device: str
    process: asyncio.subprocess.Process
    state: WorkerState = WorkerState.STARTING
    outbox: asyncio.Queue[worker_pb2.WorkResponse | None] = field(default_factory=asyncio.Queue)
    lease: Lease | None = None
    beat: worker_pb2.Beat = field(default_factory=worker_pb2.Beat)
    leased_at: float = field(default_factory=time.monotonic)
    progressed_at: float = field(default_factory=time.monotonic)
    rests_since: float = field(default_factory=time.monotonic)
    jobs: set[str] = field(default_factory=set)
    engines: dict[tuple[str, str], str] = field(default_factory=dict)
    calls: dict[int, asyncio.Future[worker_pb2.CallAnswered]] = field(default_factory=dict)
    changes: dict[int, asyncio.Future[worker_pb2.EnginesLoaded]] = field(default_factory=dict)
    ended_for: str | None = None

    @property
    def answers(self) -> bool:
        """Whether it takes direct calls."""
        return self.state in (WorkerState.IDLE, WorkerState.BUSY)

    def tell(self, **message: Any) -> None:
        """Queue a message for it."""
        self.outbox.put_nowait(worker_pb2.WorkResponse(**message))

    def heard(self, beat: worker_pb2.Beat) -> None:
        """Take a sign of life."""
        if beat.steps != self.beat.steps:
            self.progressed_at = time.monotonic()
        self.beat = beat

    def begin(self, lease: Lease) -> None:
        """It works from now on."""
        self.lease, self.state = lease, WorkerState.BUSY
        self.leased_at = self.progressed_at = time.monotonic()
        self.jobs.add(lease.job.id)

    def rest(self) -> None:
        """It has no work."""
        self.lease = None
        self.rests_since = time.monotonic()
        if self.state is WorkerState.BUSY:
            self.state = WorkerState.IDLE

    def end(self, reason: str = "") -> None:
        """Tell it to end, as soon as it has come to the end of what it does."""
        if self.state not in (WorkerState.ENDING, WorkerState.DEAD):
            self.state, self.ended_for = WorkerState.ENDING, reason
            self.tell(exit=worker_pb2.Exit())

    def kill(self, reason: str) -> None:
        """End it at once."""
        self.state, self.ended_for = WorkerState.ENDING, reason
        if self.process.returncode is None:
            self.process.kill()

    def died(self, error: Exception) -> None:
        """Nobody waits for its answers any more."""
        self.state = WorkerState.DEAD
        self.outbox.put_nowait(None)
        waiting: list[asyncio.Future[Any]] = [*self.calls.values(), *self.changes.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        self.calls.clear()
        self.changes.clear()
