"""Ctrl-C and SIGTERM as a question a loop can ask between two steps, not as an exception in the middle of one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Within the block, SIGTERM raises `KeyboardInterrupt` as Ctrl-C does, so that unfinished folders are removed.

    For work without steps at which it could stop and be continued.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Within the block, SIGINT and SIGTERM set a flag; the value given answers whether one came.

    The first says on standard error that the step is being finished. A second signal acts as it did before the block,
    so an impatient Ctrl-C still stops at once; what is finished is on disk either way.
    """
    stopped = False
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        restore()
        # not print: a handler may run in the middle of another one
        os.write(2, b"stopping at the end of this step; once more stops at once\n")

    for number in before:
        signal.signal(number, handle)
    try:
        yield lambda: stopped
    finally:
        restore()
