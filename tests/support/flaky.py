"""A way to a server that breaks: a TCP proxy that resets its connections at chosen byte counts."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

_RESET = struct.pack("ii", 1, 0)


class Flaky:
    """Passes bytes on. `broken` counts the connections that were reset."""

    def __init__(self, target: int, down: Sequence[int], up: Sequence[int]) -> None:
        """To the port `target`; each connection takes the next count of bytes from (`down`) or to (`up`) the server."""
        self.broken = 0
        self._target = target
        self._counts = {"down": list(down), "up": list(up)}
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """End every connection, and wait for the threads."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            ends = list(self._open)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in ends:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                self._open += [client, server]
                up, down = (counts.pop(0) if counts else None for counts in (self._counts["up"], self._counts["down"]))
            self._start(self._pass, client, server, up)
            self._start(self._pass, server, client, down)

    def _pass(self, source: socket.socket, target: socket.socket, left: int | None) -> None:
        try:
            while data := source.recv(16384 if left is None else max(1, min(16384, left))):
                target.sendall(data)
                left = None if left is None else left - len(data)
                if left is not None and left <= 0:
                    self.broken += 1
                    self._reset(source, target)
                    return
        except OSError:
            pass
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _reset(self, *ends: socket.socket) -> None:
        for end in ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()


@contextmanager
def flaky(target: int, *, down: Sequence[int] = (), up: Sequence[int] = ()) -> Iterator[Flaky]:
    """A way to the port `target` whose first connections break after so many bytes from or to the server."""
    way = Flaky(target, down, up)
    try:
        yield way
    finally:
        way.close()
