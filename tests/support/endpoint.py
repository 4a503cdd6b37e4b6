"""An OpenAI-compatible server on this machine that answers as it is told to, well or badly.

    with Server([hangs(2), status(503), says("a hand")]) as server:
        ...                                   # the third attempt is answered
    server.requests                           # what was asked, in order

A behavior is a function of the request's handler; the last one is repeated.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def content(self) -> Any:
        """What the user's message holds."""
        return self.body["messages"][-1]["content"]


Behavior = Callable[[BaseHTTPRequestHandler, Request], None]


def completion(text: str | None, finish_reason: str = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}


def says(text: str | None, finish_reason: str = "stop") -> Behavior:
    return sends(json.dumps(completion(text, finish_reason)))


def answers(reply: Callable[[Request], str]) -> Behavior:
    return lambda handler, request: says(reply(request))(handler, request)


def sends(text: str, *, code: int = 200, media_type: str = "application/json", **headers: str) -> Behavior:
    content = text.encode()

    def behave(handler: BaseHTTPRequestHandler, request: Request) -> None:
        handler.send_response(code)
        handler.send_header("Content-Type", media_type)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return behave


def status(code: int, text: str = '{"error": {"message": "no"}}', **headers: str) -> Behavior:
    return sends(text, code=code, **headers)


def hangs(seconds: float) -> Behavior:
    def behave(handler: BaseHTTPRequestHandler, request: Request) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return behave


def drips(seconds: float, *, every: float = 0.02) -> Behavior:
    """Sends a byte now and then, never falling silent, never ending."""

    def behave(handler: BaseHTTPRequestHandler, request: Request) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(every)
        handler.close_connection = True

    return behave


def closes_midway(text: str = '{"choices": [{"message"') -> Behavior:
    """Promises more than it sends."""

    def behave(handler: BaseHTTPRequestHandler, request: Request) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", "10000")
        handler.end_headers()
        handler.wfile.write(text.encode())
        handler.close_connection = True

    return behave


def slams_the_door(handler: BaseHTTPRequestHandler, request: Request) -> None:
    """Closes the connection without a word."""
    handler.close_connection = True


@dataclass
class Server:
    """Runs inside `with`; each request meets the next behavior."""

    behaviors: Sequence[Behavior]
    requests: list[Request] = field(default_factory=list)
    most_at_once: int = 0

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._now = 0
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def meet(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        request = Request(handler.path, dict(handler.headers), body)
        with self._lock:
            behavior = self.behaviors[min(len(self.requests), len(self.behaviors) - 1)]
            self.requests.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            behavior(handler, request)
        except OSError:
            handler.close_connection = True  # the client has gone, as it may
        finally:
            with self._lock:
                self._now -= 1


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no fault of the server's."""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            server.meet(self)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
