"""Ctrl-C and SIGTERM as a question a loop can ask between two steps, not as an exception in the middle of one."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals(on_first: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Within the block, SIGINT and SIGTERM set a flag; the value given answers whether one came.

    `on_first` is called at the first signal, to tell the user that the step is being finished. A second signal acts
    as it did before the block, so an impatient Ctrl-C still stops at once; what is finished is on disk either way.
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
        on_first()

    for number in before:
        signal.signal(number, handle)
    try:
        yield lambda: stopped
    finally:
        restore()
