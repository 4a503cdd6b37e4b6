"""A worker's stream to the front: what comes in is sorted, what goes out is queued."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import grpc
from pydantic import TypeAdapter

from limbeck_server.engines.calls import CallServer
from limbeck_server.rpc import worker_pb2, worker_pb2_grpc
from limbeck_server.workers.config import WorkerConfig

_log = logging.getLogger(__name__)

NO_LIMIT = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
"""The socket is between processes of one machine; what may come from outside was limited at the door."""


class FrontGone(Exception):
    """The stream has ended: the front is dead, or wants this worker to be."""


class FrontLink:
    """The stream. Use it by `with`.

    Args:
        socket: The front's Unix socket.
        worker: This worker's id.
        device: What it runs on.
        pid: Its process.
    """

    def __init__(self, socket: str, *, worker: str, device: str, pid: int) -> None:
        """Connect, and say hello."""
        self._outbox: queue.SimpleQueue[worker_pb2.WorkRequest | None] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[worker_pb2.WorkResponse | None] = queue.SimpleQueue()
        self._stopped: set[str] = set()
        self._gone = threading.Event()
        self._calls: CallServer | None = None
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=NO_LIMIT)
        self.send(hello=worker_pb2.Hello(worker=worker, pid=pid, device=device))
        self._stream = worker_pb2_grpc.WorkerServiceStub(self._channel).Work(self._requests())
        self._reader = threading.Thread(target=self._read, name="front", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._outbox.put(None)
        self._stream.cancel()
        self._channel.close()

    def config(self) -> WorkerConfig:
        """The front's answer to the hello.

        Raises:
            FrontGone: There is none.
        """
        try:
            first = next(self._stream)
        except (grpc.RpcError, StopIteration) as error:
            raise FrontGone(str(error)) from error
        return TypeAdapter(WorkerConfig).validate_python(json.loads(first.welcome.config_json))

    def listen(self, calls: CallServer) -> None:
        """From now on, take what the front says; direct calls go to `calls`."""
        self._calls = calls
        self._reader.start()

    def send(self, **message: Any) -> None:
        """Say something; never waits."""
        self._outbox.put(worker_pb2.WorkRequest(**message))

    def next(self, timeout_seconds: float) -> worker_pb2.WorkResponse | None:
        """The next assignment, engine change or exit; None if none came in time, or a direct call did.

        Raises:
            FrontGone: The stream has ended.
        """
        self.refuse_gone()
        try:
            return self._inbox.get(timeout=timeout_seconds)
        except queue.Empty:
            return None

    def stopped(self, lease: str) -> bool:
        """Whether the front wants no more work under this lease."""
        return lease in self._stopped

    def refuse_gone(self) -> None:
        """Raise `FrontGone` if the stream has ended."""
        if self._gone.is_set():
            raise FrontGone("the server's front has ended")

    def _requests(self) -> Iterator[worker_pb2.WorkRequest]:
        while (request := self._outbox.get()) is not None:
            yield request

    def _read(self) -> None:
        assert self._calls is not None
        try:
            for response in self._stream:
                kind = response.WhichOneof("message")
                if kind == "call":
                    self._calls.submit(response.call)
                    self._inbox.put(None)
                elif kind == "call_cancelled":
                    self._calls.cancel(response.call_cancelled.id)
                elif kind == "stop":
                    self._stopped.add(response.stop.lease)
                else:
                    self._inbox.put(response)
        except grpc.RpcError as error:
            _log.debug("stream_ended reason=%s", error)
        finally:
            self._gone.set()
            self._inbox.put(None)
