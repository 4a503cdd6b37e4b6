"""A worker: takes assignments and direct calls from the front, one thread for all that runs an engine.

Direct calls are served while there is no assignment, and between two steps of one. A job's images and networks stay
open between its leases, until another job comes or the worker has been told nothing for a while.
"""

from __future__ import annotations

import errno
import json
import logging
import threading
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from limbeck.cache import Cache
from limbeck.errors import ConfigError, DataError, ExportError, LimbeckError, PackError
from limbeck.memory.process import PeakMeter, give_back, usage
from limbeck_server.backends import named_backend
from limbeck_server.engines.calls import CallServer
from limbeck_server.engines.changes import change, loaded
from limbeck_server.engines.reasons import reason_of
from limbeck_server.engines.table import EngineTable
from limbeck_server.operations.logs import log_fields
from limbeck_server.rpc import worker_pb2
from limbeck_server.spec import DistillSpec, EvaluateSpec, Places, parse
from limbeck_server.store.blobs import Blobs
from limbeck_server.store.records import PREPARE, PUBLISH
from limbeck_server.wire.text import valid_text
from limbeck_server.workers.config import WorkerConfig
from limbeck_server.workers.distilling import Distilling
from limbeck_server.workers.evaluating import Evaluating, EvaluationError
from limbeck_server.workers.link import FrontLink

_log = logging.getLogger(__name__)

_BEAT_SECONDS = 0.5
_WAIT_SECONDS = 5.0
_CALLS_SECONDS = 0.1
"""What direct calls may take between two steps of a job."""
_WILL_FAIL_AGAIN = (ConfigError, DataError, PackError, ExportError, EvaluationError)


class Stopped(Exception):
    """The front wants no more work under this lease."""


@dataclass
class _Status:
    """What the beat says."""

    steps: int = 0
    lease: str = ""
    stage: str = ""
    done: int = 0
    total: int = 0


class Worker:
    """A worker at work.

    Args:
        link: The way to the front.
        root: The server's folder.
        config: How to work.
    """

    def __init__(self, link: FrontLink, root: Path, config: WorkerConfig) -> None:
        """Load nothing yet."""
        self._link = link
        self._root = root
        self._config = config
        self._blobs = Blobs(root / "blobs")
        self._status = _Status()
        self._stack = ExitStack()
        self._job = ""
        self._session: Distilling | Evaluating | None = None
        self._table = EngineTable(
            config.packs,
            named_backend("onnxruntime", config.backend.get("onnxruntime", {}), pack=""),
            bucket=config.bucket,
            limit_nbytes=config.engines_nbytes,
        )
        self._calls = CallServer(self._table, max_delay_seconds=config.call_delay_seconds)
        self._loaded = loaded(self._table)

    def run(self) -> None:
        """Work until the front says exit.

        Raises:
            FrontGone: The front is gone.
        """
        self._link.listen(self._calls)
        threading.Thread(target=self._beat, name="beat", daemon=True).start()
        with self._stack:
            try:
                while True:
                    message = self._link.next(_WAIT_SECONDS)
                    kind = message.WhichOneof("message") if message is not None else None
                    if message is None:
                        self._serve(None)
                    elif kind == "assignment":
                        self._work(message.assignment)
                    elif kind == "engine_change":
                        self._tell_loaded(change(self._table, message.engine_change))
                    elif kind == "exit":
                        return
            finally:
                self._close()
                self._table.close()

    def _work(self, assignment: worker_pb2.Assignment) -> None:
        """One lease, to its end, which is told."""
        self._status.lease, self._status.stage = assignment.lease, ""
        units = ",".join(str(unit.index) for unit in assignment.units)
        with log_fields(job=assignment.job, unit=units), PeakMeter() as meter:
            outcome, reason, message = self._outcome(assignment)
            peak = meter.peak.private_nbytes
        self._status.lease, self._status.stage = "", ""
        self._link.send(
            lease_ended=worker_pb2.LeaseEnded(
                lease=assignment.lease, outcome=outcome, reason=reason, message=valid_text(message), peak_nbytes=peak
            )
        )

    def _outcome(self, assignment: worker_pb2.Assignment) -> tuple[worker_pb2.Outcome, str, str]:
        try:
            self._run(assignment)
            return worker_pb2.OUTCOME_DONE, "", ""
        except Stopped:
            outcome, reason, message = worker_pb2.OUTCOME_STOPPED, "", ""
        except _WILL_FAIL_AGAIN as error:
            outcome, reason, message = worker_pb2.OUTCOME_FAILED, reason_of(error), str(error)
        except LimbeckError as error:
            full = isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT)
            outcome = worker_pb2.OUTCOME_DISK_FULL if full else worker_pb2.OUTCOME_RETRY
            reason, message = reason_of(error), str(error)
        except (OSError, MemoryError, RuntimeError, ValueError, KeyError, TypeError) as error:
            _log.exception("unit_failed lease=%s", assignment.lease)
            outcome, reason = worker_pb2.OUTCOME_RETRY, "UNEXPECTED"
            message = "".join(traceback.format_exception_only(error)).strip()
        # outside the handlers: the traceback holds the frames, and they hold the arrays
        self._close()
        return outcome, reason, message

    def _run(self, assignment: worker_pb2.Assignment) -> None:
        session, lease = self._session_of(assignment), assignment.lease
        for unit in assignment.units[:1]:
            if unit.index == PREPARE:
                session.prepare(lease)
            elif isinstance(session, Evaluating):
                session.make(lease)
            elif unit.index == PUBLISH:
                finished = {one.index: one for one in assignment.finished}
                session.publish(lease, finished, assignment.job)
            else:
                session.make(lease, {one.index: one.checkpoint for one in assignment.units})
        if any(unit.index == PUBLISH for unit in assignment.units):
            self._close()

    def _session_of(self, assignment: worker_pb2.Assignment) -> Distilling | Evaluating:
        """What is open for the assignment's job; another job's is closed for it."""
        if self._session is None or assignment.job != self._job:
            self._close()
            opened = self._open(assignment)
            self._stack.push(opened)
            self._session, self._job = opened, assignment.job
        return self._session

    def _open(self, assignment: worker_pb2.Assignment) -> Distilling | Evaluating:
        config = self._config
        places = Places(
            packs=config.packs,
            resources=json.loads(assignment.resources_json),
            backend=config.backend,
            max_pixels=config.max_pixels,
        )
        spec = parse(assignment.kind, json.loads(assignment.spec_json))
        if isinstance(spec, EvaluateSpec):
            return Evaluating(spec, places, send=self._link.send, step=self._step)
        assert isinstance(spec, DistillSpec)
        return Distilling(
            places.job(spec, out=self._root / "sets" / assignment.job, budget_nbytes=config.budget_nbytes),
            json.loads(assignment.prepared_json) if assignment.prepared_json else None,
            blobs=self._blobs,
            send=self._link.send,
            step=self._step,
        )

    def _close(self) -> None:
        """Close what is open for a job, and give its memory back."""
        if self._session is not None:
            self._session, self._job = None, ""
            self._stack.close()
            give_back()

    def _step(self, stage: str, done: int, total: int) -> None:
        """A step of a job was made: say so, serve who waits, and stop if the front wants it."""
        status = self._status
        status.steps += 1
        status.stage, status.done, status.total = stage, done, total
        self._link.refuse_gone()
        if self._link.stopped(status.lease):
            raise Stopped
        if self._calls.pending:
            self._serve(_CALLS_SECONDS)

    def _serve(self, limit_seconds: float | None) -> None:
        """Answer the direct calls that wait."""
        for answer in self._calls.serve(limit_seconds):
            self._status.steps += 1
            self._link.send(call_answered=answer)
        if (now := loaded(self._table)) != self._loaded:
            self._tell_loaded(now)

    def _tell_loaded(self, told: worker_pb2.EnginesLoaded) -> None:
        self._loaded = worker_pb2.EnginesLoaded(engines=told.engines)
        self._link.send(engines_loaded=told)

    def _beat(self) -> None:
        while True:
            status = self._status
            self._link.send(
                beat=worker_pb2.Beat(
                    steps=status.steps,
                    busy=bool(status.lease),
                    stage=valid_text(status.stage),
                    done=status.done,
                    total=status.total,
                    private_nbytes=usage().private_nbytes,
                    lease=status.lease,
                    cache_hits=Cache.uses["hit"],
                    cache_misses=Cache.uses["miss"],
                )
            )
            time.sleep(_BEAT_SECONDS)
