"""Log lines with fields, for machines (one JSON object a line) or for people.

Code logs an event's name and its fields as text, `_log.info("job_leased job=%s worker=%s", job, worker)`. Here the
fields are taken apart again, and those that `log_fields` holds around the code, such as job and unit, are added.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TextIO

_around: ContextVar[Mapping[str, str]] = ContextVar("limbeck_log_fields", default={})  # noqa: B039 - it is never changed
_FIELD = re.compile(r"(\w+)=%[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]")
_PLACEHOLDER = re.compile(r"%[^%]")
_EVENT = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")
_RESERVED = frozenset({"time", "level", "logger", "event", "message", "error"})


@contextmanager
def log_fields(**fields: str) -> Iterator[None]:
    """Add fields to every line that this code, and the tasks it starts, write meanwhile."""
    token = _around.set({**_around.get(), **fields})
    try:
        yield
    finally:
        _around.reset(token)


def configure_logging(
    form: Literal["json", "text"], *, stream: TextIO | None = None, level: int = logging.INFO
) -> None:
    """Send all lines of this process to `stream` (stderr by default), and nowhere else."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, event, message, the fields, and the traceback as `error`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{f"{name}_" if name in _RESERVED else name: value for name, value in fields_of(record).items()},
        }
        if event := event_of(record):
            line["event"] = event
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """A line for people. Whatever is logged stays on its line, so that nobody can write another's."""

    def format(self, record: logging.LogRecord) -> str:
        message = printable(record.getMessage())
        around = "".join(f" {name}={printable(value)}" for name, value in _around.get().items())
        text = f"{_time(record)} {record.levelname.lower():7} {message}{around}"
        if record.exc_info:
            lines = self.formatException(record.exc_info).splitlines()
            text += "".join(f"\n    {printable(line)}" for line in lines)
        return text


def event_of(record: logging.LogRecord) -> str:
    """The event's name; "" if the line is none of ours."""
    first = str(record.msg).split(" ", 1)[0]
    return first if _EVENT.fullmatch(first) else ""


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What the line's text names, and what is held around the code that wrote it."""
    template = str(record.msg)
    names = _FIELD.findall(template)
    args = record.args if isinstance(record.args, tuple) else ()
    if len(names) != len(args) or len(_PLACEHOLDER.findall(template)) != len(args):
        return dict(_around.get())
    simple = (value if isinstance(value, str | int | float | bool | None) else str(value) for value in args)
    return {**_around.get(), **dict(zip(names, simple, strict=True))}


def printable(text: str) -> str:
    """The text with everything that is not to be seen, such as a line's end, written as an escape."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
