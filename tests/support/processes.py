"""Processes that limbeck has started."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil


def side_processes(pid: int | None = None) -> list[psutil.Process]:
    """The side processes of this process, or of another; other children, as of earlier tests, are left out."""
    found = []
    for child in psutil.Process(os.getpid() if pid is None else pid).children():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "limbeck_server.side" in child.cmdline():
                found.append(child)
    return found
