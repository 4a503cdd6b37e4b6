"""Distills for the study: the command as a user runs it, in a process of its own, whose time and memory are known."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Made:
    """What became of a distillation.

    Args:
        out: The distilled set; None if there is none.
        status: made, refused (the method says that it cannot, and why), failed (it broke), or out of time.
        reason: Why there is no set.
        seconds: Of the whole process; 0 if the set was there already.
        peak_nbytes: Private memory at its peak, as the manifest says.
    """

    out: Path | None
    status: str
    reason: str = ""
    seconds: float = 0.0
    peak_nbytes: int | None = None


def distill(arguments: Sequence[str], out: Path, *, timeout_seconds: float) -> Made:
    """`limbeck distill` with these arguments into `out`, or what an earlier run left there, finished.

    A process that is out of time is asked to stop and leaves its finished units to be continued.
    """
    note = out.with_name(out.name + ".json")
    if note.exists():
        known = json.loads(note.read_text())
        return Made(out=out if known["status"] == "made" else None, **known)
    command = [
        sys.executable,
        "-m",
        "limbeck_server.cli",
        "distill",
        *arguments,
        "--out",
        str(out),
        "--resume",
        "--json",
    ]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            printed, errors = process.communicate(timeout=max(timeout_seconds, 1))
        except subprocess.TimeoutExpired:
            process.terminate()
            printed, errors = process.communicate()
            if process.returncode != 0:
                return Made(
                    out=None, status="out of time", reason=_progress(printed), seconds=time.perf_counter() - start
                )
    seconds = time.perf_counter() - start
    found = _outcome(process.returncode, _events(printed), errors)
    known = {**found, "seconds": round(seconds, 2)}
    out.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(known))
    return Made(out=out if known["status"] == "made" else None, **known)


def _outcome(code: int, events: Sequence[Mapping[str, Any]], errors: str) -> dict[str, Any]:
    last = events[-1] if events else {}
    if code == 0 and last.get("event") == "distilled":
        return {"status": "made", "peak_nbytes": last["memory"]["measured"]["peak_nbytes"]}
    if last.get("event") == "error":
        return {"status": "refused", "reason": last["message"]}
    lines = errors.strip().splitlines() or [f"the process ended with {code}"]
    return {"status": "failed", "reason": lines[-1]}


def _events(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{") and line.endswith("}")]


def _progress(printed: str) -> str:
    steps = [event for event in _events(printed) if event.get("event") == "progress"]
    return f"reached {steps[-1]['stage']} {steps[-1]['done']} of {steps[-1]['total']}" if steps else "before any step"
