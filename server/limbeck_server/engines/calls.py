"""`CallServer`: the direct calls of a worker, from its stream to its engines and back.

    stream's thread     submit(call), cancel(id)
    worker's thread     for answered in calls.serve(): send(answered)        between two steps of a job

A call that has just come waits a few milliseconds for others to share its run. One that fails, fails alone: the shares
of a run that fails are run again, each by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from limbeck.arrays import Array
from limbeck.errors import EngineError, FeedError, LimbeckError, MemoryLimitError
from limbeck_server.engines.arrays import to_array, to_tensor
from limbeck_server.engines.batching import Share, next_batch
from limbeck_server.engines.check import num_rows, violations
from limbeck_server.engines.pack_calls import PackCalls
from limbeck_server.engines.reasons import reason_of
from limbeck_server.engines.table import EngineTable
from limbeck_server.rpc import worker_pb2
from limbeck_server.store.errors import NotFoundError

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Admitted:
    """A call that was checked. Rows before `next_row` have been run, and what they gave is in `made`."""

    call: worker_pb2.Call
    arrived_at: float
    answering: PackCalls
    feeds: dict[str, Array]
    next_row: int = 0
    made: list[dict[str, Array]] = field(default_factory=list)
    batch: int = 0

    @property
    def batched(self) -> bool:
        """Whether it has rows; a call that has none counts as one, and shares a run with nobody."""
        return self.answering.signatures[self.call.call].batched

    @property
    def key(self) -> tuple[object, ...]:
        return self.call.pack, self.call.call, self.call.arguments_json, None if self.batched else self.call.id

    @property
    def num_rows(self) -> int:
        return num_rows(self.call.inputs) if self.batched else 1

    @property
    def bucket(self) -> int:
        """The most rows of a run that it has a share of."""
        return self.answering.bucket(self.call.call) if self.batched else 1

    def rows(self, share: Share) -> dict[str, Array]:
        """What it feeds to a run."""
        own = slice(share.start, share.stop) if self.batched else slice(None)
        return {name: array[own] for name, array in self.feeds.items()}


class CallServer:
    """Calls that wait, and their batches.

    Args:
        table: The engines.
        max_delay_seconds: How long a call waits for others, where its run is not full.
    """

    def __init__(self, table: EngineTable, *, max_delay_seconds: float = 0.003) -> None:
        """Nothing waits."""
        self._table = table
        self._max_delay_seconds = max_delay_seconds
        self._arrival = threading.Condition()
        self._inbox: list[tuple[float, worker_pb2.Call]] = []
        self._cancelled: set[int] = set()
        self._admitted: list[_Admitted] = []

    def submit(self, call: worker_pb2.Call) -> None:
        """Take a call; from any thread."""
        with self._arrival:
            self._inbox.append((time.monotonic(), call))
            self._arrival.notify_all()

    def cancel(self, call_id: int) -> None:
        """Forget a call whose caller has gone, unless it has been answered; from any thread. It gets no answer."""
        with self._arrival:
            self._cancelled.add(call_id)

    @property
    def pending(self) -> bool:
        """Whether a call waits to be served; from any thread."""
        return bool(self._inbox or self._admitted)

    def serve(self, limit_seconds: float | None = None) -> Iterator[worker_pb2.CallAnswered]:
        """Run what waits, and give each answer as soon as it is there; on the worker's thread.

        Calls that come meanwhile may share the runs, and otherwise wait for the next time: callers who never stop do
        not keep the worker from its jobs.

        Args:
            limit_seconds: Begin no run after that time; what is left waits for the next time, too.
        """
        until = None if limit_seconds is None else time.monotonic() + limit_seconds
        yield from self._admit()
        waiting = list(self._admitted)
        while any(one in self._admitted for one in waiting) and (until is None or time.monotonic() < until):
            yield from self._admit()
            while self._admitted and self._another_comes():
                yield from self._admit()
            if self._admitted:
                yield from self._run_next()

    def _another_comes(self) -> bool:
        """Whether a call came while the oldest may wait for others; at once False if its run is full."""
        first = self._admitted[0]
        if sum(share.num_rows for share in next_batch(self._admitted, first.bucket)) == first.bucket:
            return False
        left = first.arrived_at + self._max_delay_seconds - time.monotonic()
        if left <= 0:
            return False
        with self._arrival:
            return self._arrival.wait_for(lambda: bool(self._inbox), left)

    def _admit(self) -> Iterator[worker_pb2.CallAnswered]:
        """Check the calls that have come, and leave out those that were cancelled."""
        with self._arrival:
            arrived, self._inbox = self._inbox, []
            cancelled, self._cancelled = self._cancelled, set()
        self._admitted = [one for one in self._admitted if one.call.id not in cancelled]
        for arrived_at, call in arrived:
            if call.id in cancelled:
                continue
            try:
                self._admitted.append(self._checked(call, arrived_at))
            except LimbeckError as error:
                yield _refused(call, error)

    def _checked(self, call: worker_pb2.Call, arrived_at: float) -> _Admitted:
        answering = self._table.calls(call.pack)
        signature = answering.signatures.get(call.call)
        if signature is None:
            known = ", ".join(answering.signatures)
            raise NotFoundError(f"pack '{call.pack}' does not answer '{call.call}'; it answers: {known}")
        if wrong := violations(signature, call.inputs):
            raise FeedError("; ".join(f"{name} {what}" for name, what in wrong))
        feeds = {tensor.name: to_array(tensor) for tensor in call.inputs}
        answering.check(call.call, feeds)
        return _Admitted(call, arrived_at, answering, feeds)

    def _run_next(self) -> Iterator[worker_pb2.CallAnswered]:
        shares = next_batch(self._admitted, self._admitted[0].bucket)
        calls = [self._admitted[share.index] for share in shares]
        try:
            _run_together(calls, shares)
        except LimbeckError as error:
            _log.warning("calls_failed calls=%d error=%s", len(calls), error)
            if len(calls) == 1:
                yield self._given_up(calls[0], error)
            else:
                yield from self._run_apart(calls, shares)
        for done in [one for one in calls if one in self._admitted and one.next_row == one.num_rows]:
            self._admitted.remove(done)
            yield _answered(done)

    def _run_apart(self, calls: Sequence[_Admitted], shares: Sequence[Share]) -> Iterator[worker_pb2.CallAnswered]:
        for call, share in zip(calls, shares, strict=True):
            try:
                _run_together([call], [share])
            except LimbeckError as error:
                yield self._given_up(call, error)

    def _given_up(self, call: _Admitted, error: LimbeckError) -> worker_pb2.CallAnswered:
        self._admitted.remove(call)
        return _refused(call.call, error)


def _run_together(calls: Sequence[_Admitted], shares: Sequence[Share]) -> None:
    """Run some rows of each call as one batch, and give each call what is its own.

    Raises:
        LimbeckError: What the run failed with; no call has changed.
    """
    first = calls[0]
    parts = [call.rows(share) for call, share in zip(calls, shares, strict=True)]
    feeds = {name: _joined([part[name] for part in parts]) for name in parts[0]}
    made = _run(first.answering, first.call.call, feeds)
    at = 0
    for call, share in zip(calls, shares, strict=True):
        own = slice(at, at + share.num_rows) if call.batched else slice(None)
        call.made.append({name: array[own] for name, array in made.items()})
        call.next_row = share.stop
        call.batch = max(call.batch, sum(share.num_rows for share in shares))
        at += share.num_rows


def _run(answering: PackCalls, call: str, feeds: dict[str, Array]) -> dict[str, Array]:
    try:
        return answering.run(call, feeds)
    except LimbeckError:
        raise
    except MemoryError as error:
        raise MemoryLimitError(f"no memory for '{call}': {error}") from error
    except Exception as error:  # whatever a runtime or an adapter raises: a caller must not end the worker's jobs
        _log.exception("call_broke call=%s", call)
        raise EngineError(f"'{call}' failed: {error}") from error


def _answered(call: _Admitted) -> worker_pb2.CallAnswered:
    outputs = call.answering.signatures[call.call.call].outputs
    tensors = [to_tensor(one.name, _joined([part[one.name] for part in call.made])) for one in outputs]
    return worker_pb2.CallAnswered(id=call.call.id, outputs=tensors, batch=call.batch)


def _joined(parts: Sequence[Array]) -> Array:
    """One after the other; a single one without a copy, whatever its dimensions."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _refused(call: worker_pb2.Call, error: LimbeckError) -> worker_pb2.CallAnswered:
    return worker_pb2.CallAnswered(id=call.id, reason=reason_of(error), message=str(error))
