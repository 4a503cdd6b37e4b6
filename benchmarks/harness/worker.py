"""One contestant in a process of its own: asked over a pipe, it loads, runs and says what memory it took.

    python -m benchmarks.harness.worker benchmarks.contestants.torch_networks:Eager '{"threads": 2}'

Requests and answers are JSON, one object a line, on standard input and output; what libraries print goes to standard
error. Only NumPy is needed here: a contestant may live in an environment that has nothing else of ours.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Feeds = Mapping[str, NDArray[Any]]


class Contestant(Protocol):
    """What a target makes from its settings; `packages` are reported with their versions.

    It may also have `flops(feeds)`: the floating-point operations that its network needs for these feeds.
    """

    packages: ClassVar[tuple[str, ...]]

    def load(self) -> None:
        """Make everything ready that does not depend on feeds."""
        ...

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """The network's output for these feeds."""
        ...


class Worker:
    """Answers requests for one contestant."""

    def __init__(self, target: str, settings: Mapping[str, Any]) -> None:
        """Nothing is imported before the first request, so that load time and memory hold everything."""
        self._target = target
        self._settings = settings
        self._feeds: dict[str, Feeds] = {}
        self._contestant: Any = None

    def load(self) -> dict[str, Any]:
        """Import, construct and load; seconds and package versions."""
        start = time.perf_counter()
        module, _, name = self._target.partition(":")
        self._contestant = getattr(importlib.import_module(module), name)(**self._settings)
        self._contestant.load()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "versions": {"python": sys.version.split()[0], **_versions(self._contestant)}}

    def run(self, feeds: str, output: str | None = None) -> dict[str, Any]:
        """Seconds of one run on the arrays of an `.npz` file; the output goes to `output` if named."""
        if feeds not in self._feeds:
            with np.load(feeds) as arrays:
                self._feeds[feeds] = dict(arrays)
        start = time.perf_counter()
        result = self._contestant.run(self._feeds[feeds])
        seconds = time.perf_counter() - start
        if output is not None:
            np.save(output, result)
        return {"seconds": seconds}

    def flops(self, feeds: str) -> dict[str, Any]:
        """Operations of one run, or null."""
        count = getattr(self._contestant, "flops", None)
        if count is None:
            return {"flops": None}
        with np.load(feeds) as arrays:
            return {"flops": count(dict(arrays))}

    def memory(self, reset: bool = False) -> dict[str, Any]:
        """Bytes: the highest resident set since the start or the last reset, what is resident now, and on a GPU."""
        found = {**memory_nbytes(), "device": device_nbytes()}
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        return found


def memory_nbytes() -> dict[str, int]:
    """`peak`, `resident`, `anonymous` and `file` bytes of this process, as Linux counts them.

    File-backed pages (mapped weights) count in the resident set but can be evicted; anonymous ones cannot.
    """
    names = {"VmHWM": "peak", "VmRSS": "resident", "RssAnon": "anonymous", "RssFile": "file"}
    lines = (line.partition(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {names[key]: 1024 * int(value.split()[0]) for key, _, value in lines if key in names}


def device_nbytes() -> int | None:
    """Bytes of GPU memory that this process holds, as `nvidia-smi` says; None without a GPU."""
    if shutil.which("nvidia-smi") is None:
        return None
    asked = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    lines = subprocess.run(asked, capture_output=True, text=True).stdout.splitlines()
    held = {int(pid): int(mib) for pid, mib in (line.split(",") for line in lines if line.count(",") == 1)}
    return 2**20 * held[os.getpid()] if os.getpid() in held else None


def _versions(contestant: Contestant) -> dict[str, str]:
    found = {}
    for package in ("numpy", *contestant.packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer requests until standard input ends."""
    target, settings = arguments or sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print; the pipe is for answers only
    worker = Worker(target, json.loads(settings))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:  # any failure of a peer is a result, not the end of the contest
            traceback.print_exc()
            answer = {"failed": _first_line(error)}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
