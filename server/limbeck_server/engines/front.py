"""`EngineCalls`: direct calls, from a service to a worker that answers them.

A call is checked here, so that what cannot be run does not travel. It goes to a worker that has its engine loaded, of
several to the one for which the fewest rows wait. Calls change nothing, so one whose worker dies goes to another.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import grpc

from limbeck.budget import format_nbytes
from limbeck.errors import LimbeckError
from limbeck_server.engines.catalog import Catalog
from limbeck_server.engines.check import num_rows, violations
from limbeck_server.engines.reasons import error_of
from limbeck_server.engines.signature import Signature
from limbeck_server.rpc import worker_pb2
from limbeck_server.wire.refusal import Refusal, RefusedError, RequestError, Violation

_log = logging.getLogger(__name__)

_ENVELOPE_NBYTES = 4096
"""What a message has beside its tensors' elements, generously."""
_MAX_TRIES = 2


class WorkerLostError(LimbeckError):
    """A worker ended before it had answered."""


@dataclass(frozen=True)
class CallWorker:
    """A worker that takes calls.

    Args:
        id: Its id.
        loaded: Pack and role of every engine that it has loaded.
    """

    id: str
    loaded: frozenset[tuple[str, str]] = frozenset()


class WorkerLink(Protocol):
    """The way to the workers."""

    def call_workers(self) -> Sequence[CallWorker]:
        """Those that live."""
        ...

    async def call(self, worker: str, call: worker_pb2.Call) -> worker_pb2.CallAnswered:
        """Its answer. If this is cancelled, the worker is told that nobody waits any more.

        Raises:
            WorkerLostError: The worker is gone.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class CallLimits:
    """What direct calls may take.

    Args:
        max_message_nbytes: Of one request, and of one answer.
        max_waiting_calls: Calls that may wait for one worker.
        max_waiting_nbytes: Bytes of requests and answers that may wait for one worker; the front holds them.
    """

    max_message_nbytes: int = 16 * 2**20
    max_waiting_calls: int = 256
    max_waiting_nbytes: int = 64 * 2**20


@dataclass
class _Queue:
    """What waits for a worker."""

    calls: int = 0
    rows: int = 0
    nbytes: int = 0


class EngineCalls:
    """Direct calls.

    Args:
        catalog: What can be called.
        link: The way to the workers.
        limits: What calls may take.
    """

    def __init__(self, catalog: Catalog, link: WorkerLink, *, limits: CallLimits | None = None) -> None:
        """Nothing waits."""
        self.catalog = catalog
        self.limits = CallLimits() if limits is None else limits
        self._link = link
        self._ids = itertools.count(1)
        self._queues: dict[str, _Queue] = {}

    @property
    def ready(self) -> bool:
        """Whether there is a worker."""
        return bool(self._link.call_workers())

    def max_rows(self, signature: Signature) -> int | None:
        """The most rows whose answer fits a message; None where a call has no rows."""
        room = self.limits.max_message_nbytes - _ENVELOPE_NBYTES
        return max(1, room // signature.output_row_nbytes) if signature.batched else None

    async def call(
        self,
        pack: str,
        call: str,
        inputs: Sequence[worker_pb2.Tensor],
        *,
        fields: Mapping[str, str] = MappingProxyType({}),
    ) -> worker_pb2.CallAnswered:
        """What a pack answers.

        Args:
            pack: Its name.
            call: Which of its calls.
            inputs: What it takes.
            fields: Where an input is in the caller's request, for errors; by default its own name.

        Raises:
            NotFoundError: There is no such pack or call.
            RequestError: The inputs do not fit, or there are too many rows.
            RefusedError: No worker is there, too many calls wait, or workers ended instead of answering.
            FeedError: An element is none that the network knows.
            LimbeckError: What the engine failed with.
        """
        signature = self.catalog.signature(pack, call)
        self._refuse_wrong(signature, inputs, fields)
        rows = num_rows(inputs) if signature.batched else 1
        nbytes = sum(len(tensor.data) for tensor in inputs) + rows * signature.output_row_nbytes
        for _ in range(_MAX_TRIES):
            worker = self._pick((pack, signature.role), nbytes)
            asked = worker_pb2.Call(id=next(self._ids), pack=pack, call=call, inputs=inputs)
            try:
                with self._queued(worker, rows, nbytes):
                    answered = await self._link.call(worker, asked)
            except WorkerLostError:
                _log.warning("call_lost pack=%s call=%s worker=%s", pack, call, worker)
                continue
            if answered.reason:
                raise error_of(answered.reason, answered.message)
            return answered
        raise _refusal(
            grpc.StatusCode.UNAVAILABLE, "WORKER_LOST", f"{_MAX_TRIES} workers ended before they had answered", 5
        )

    def _refuse_wrong(
        self, signature: Signature, inputs: Sequence[worker_pb2.Tensor], fields: Mapping[str, str]
    ) -> None:
        if wrong := violations(signature, inputs):
            raise RequestError(*(Violation(_field(name, fields), what) for name, what in wrong))
        most = self.max_rows(signature)
        if most is not None and (rows := num_rows(inputs)) > most:
            first = inputs[0].name
            raise RequestError(
                Violation(
                    fields.get(first, first),
                    f"has {rows} rows, whose answer would take {format_nbytes(rows * signature.output_row_nbytes)}; "
                    f"a message holds {format_nbytes(self.limits.max_message_nbytes)}: send at most {most} at a time",
                )
            )

    def _pick(self, engine: tuple[str, str], nbytes: int) -> str:
        workers = self._link.call_workers()
        if not workers:
            raise _refusal(
                grpc.StatusCode.UNAVAILABLE, "NO_WORKER", "no worker is there to run engines; one may be starting", 5
            )
        with_room = [worker for worker in workers if self._has_room(worker.id, nbytes)]
        if not with_room:
            waiting = sum(queue.calls for queue in self._queues.values())
            message = f"{waiting} calls wait for engines already; try again, or with fewer at a time"
            raise _refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", message, 1)
        return min(with_room, key=lambda worker: (engine not in worker.loaded, self._rows_waiting(worker.id))).id

    def _rows_waiting(self, worker: str) -> int:
        return self._queues[worker].rows if worker in self._queues else 0

    def _has_room(self, worker: str, nbytes: int) -> bool:
        """A call for which nothing waits is always taken: it fits a message."""
        queue = self._queues.get(worker)
        return queue is None or (
            queue.calls < self.limits.max_waiting_calls and queue.nbytes + nbytes <= self.limits.max_waiting_nbytes
        )

    @contextmanager
    def _queued(self, worker: str, rows: int, nbytes: int) -> Iterator[None]:
        queue = self._queues.setdefault(worker, _Queue())
        queue.calls += 1
        queue.rows += rows
        queue.nbytes += nbytes
        try:
            yield
        finally:
            queue.calls -= 1
            queue.rows -= rows
            queue.nbytes -= nbytes
            if not queue.calls:
                del self._queues[worker]


def _field(name: str, fields: Mapping[str, str]) -> str:
    """The path of a tensor, or of a part of it, in the caller's request."""
    tensor, dot, part = name.partition(".")
    return fields.get(tensor, tensor) + dot + part


def _refusal(code: grpc.StatusCode, reason: str, message: str, retry_seconds: float) -> RefusedError:
    return RefusedError(Refusal(code=code, reason=reason, message=message, retry_seconds=retry_seconds))
