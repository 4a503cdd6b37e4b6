"""Processes that do not outlive the server that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""From Linux's sys/prctl.h."""


def die_with_parent(parent: int) -> None:
    """Have the system kill this process when the thread that started it ends, whatever it is doing then.

    Elsewhere than on Linux nothing happens: there, a process notices by its closed pipes.

    Args:
        parent: The id of the process that started this one. If it has died already, this one ends here.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_PDEATHSIG): {os.strerror(number)}")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
