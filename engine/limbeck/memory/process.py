"""What this process uses of memory, its peak over a stretch of time, and the limit that the system enforces.

The figure that counts is *private, writable memory*: what the system has promised this process and must keep in memory
(or swap) as long as it wants it. On Linux it is `data` of /proc/self/statm, the figure that RLIMIT_DATA limits, so a
budget can be handed to the system to enforce. It is at least as large as the anonymous part of the resident set.
Pages of files (libraries, mapped weights) are not in it: the kernel drops them when memory is short and reads them
again; whoever measures the resident set measures how much memory happened to be free. Both are recorded.

Elsewhere than on Linux the resident set stands in for it, and no limit is enforced.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

_SECONDS = 0.005

_STACK_NBYTES = 2**20

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""Names of glibc's settings, from its malloc.h."""


@dataclass(frozen=True)
class Usage:
    """What a process uses, in bytes.

    Args:
        private_nbytes: Private, writable memory; see the module.
        anonymous_nbytes: The part of it that is resident: written to at least once.
        file_nbytes: Pages of files that happen to be resident.
    """

    private_nbytes: int
    anonymous_nbytes: int
    file_nbytes: int


def usage() -> Usage:
    """What this process uses now."""
    info = psutil.Process().memory_info()
    shared = getattr(info, "shared", 0)
    return Usage(getattr(info, "data", info.rss), info.rss - shared, shared)


class PeakMeter:
    """The largest private memory while the `with` block runs, from a thread that looks every 5 ms.

    Linux keeps a high-water mark of the resident set only. What is allocated and freed between two looks is missed;
    a network's call takes longer.
    """

    def __init__(self) -> None:
        """Start with what is used now."""
        self._process = psutil.Process()
        self._peak = usage()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="limbeck-memory", daemon=True)

    @property
    def peak(self) -> Usage:
        """The reading with the most private memory so far."""
        self._look()
        return self._peak

    def restart(self) -> None:
        """Forget the peak so far."""
        self._peak = usage()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_SECONDS):
            with suppress(MemoryError):  # the loop goes on: what it measures is about to be given back
                self._look()

    def _look(self) -> None:
        info = self._process.memory_info()
        private = getattr(info, "data", info.rss)
        if private > self._peak.private_nbytes:
            shared = getattr(info, "shared", 0)
            self._peak = Usage(private, info.rss - shared, shared)


def peak_resident_nbytes() -> int:
    """The largest resident set this process ever had, pages of files included (VmHWM)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return int(psutil.Process().memory_info().rss)
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def give_back() -> None:
    """Return freed heap to the system, where the C library can: engines free many blocks between living ones."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_heap_small() -> None:
    """Take no memory that is not asked for: small stacks for threads of Python, and no hoard of freed blocks.

    The C library, where it is glibc, then returns every large block to the system as soon as it is freed. By itself it
    raises the size from which it does so to that of what was freed last, up to 32 MiB, and then keeps up to twice as
    much. It also gives each thread a heap of its own.
    """
    threading.stack_size(_STACK_NBYTES)
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 2**20)
        library.mallopt(_M_ARENA_MAX, 1)


@contextmanager
def limited(nbytes: int | None) -> Iterator[None]:
    """Within the block the system refuses this process more than `nbytes` of private memory.

    None changes nothing; nor does a limit where the system has none, or above the one in force. An allocation beyond it
    fails with `MemoryError` in Python and `MemoryLimitError` in an engine.
    """
    if nbytes is None or sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY and soft < nbytes:
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
