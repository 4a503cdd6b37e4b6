"""Whole commands, run one after another, round after round: wall time from start to exit, and peak memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from benchmarks.harness.contest import Kind
from benchmarks.harness.machine import ROOT

SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Command:
    """One contestant; `arguments(out)` is its command line, which makes the folder `out`."""

    name: str
    kind: Kind
    arguments: Callable[[Path], Sequence[str]]


def run_commands(commands: Sequence[Command], *, rounds: int, images: int, threads: int) -> list[dict[str, Any]]:
    """Run all commands in each round; a record for each, with `failed` set where one did not make its images."""
    records: dict[str, dict[str, Any]] = {
        command.name: {"name": command.name, "kind": command.kind, "failed": None, "seconds": [], "peak_nbytes": []}
        for command in commands
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    for number in range(rounds):
        for command in commands:
            record = records[command.name]
            if record["failed"]:
                continue
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "out"
                seconds, peak, failed = _run(command.arguments(out), environment)
                made = len([path for path in out.rglob("*.png") if path.name != "preview.png"])
                if failed is None and made != images:
                    failed = f"made {made} images, not {images}"
            record["failed"] = failed
            if failed is None:
                record["seconds"].append(seconds)
                record["peak_nbytes"].append(peak)
            print(
                f"round {number + 1}, {command.name}: {failed or f'{seconds:.1f} s, {peak / 1e6:.0f} MB'}", flush=True
            )
    return list(records.values())


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[float, int, str | None]:
    """Seconds, peak bytes, and why it failed.

    The peak is that of the resident sets of the process and its children together, sampled, and never less than the
    highest resident set that the system recorded of any one of them.
    """
    with tempfile.TemporaryFile("w+") as log:
        start = time.perf_counter()
        process = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=log, stderr=log)
        watched, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            peak = max(peak, _resident(watched), _recorded(process.pid))
            time.sleep(SAMPLE_SECONDS)
        seconds = time.perf_counter() - start
        log.seek(0)
        last = (log.read().strip().splitlines() or ["nothing was written"])[-1]
    failed = None if process.returncode == 0 else f"status {process.returncode}: {last[:300]}"
    return seconds, peak, failed


def _resident(process: psutil.Process) -> int:
    """Bytes of the process and all its children, now; 0 once it is gone."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _recorded(pid: int) -> int:
    """VmHWM of the process, bytes; it misses no peak between two samples."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
