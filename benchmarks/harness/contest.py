"""A contest: contestants in processes of their own, asked in turn, round after round, on equal feeds.

Interleaving is what makes ratios hold on a machine that is not quiet: whatever slows one round slows all of it. Where
not all fit into memory together there are several heats, and the reference runs in each; a ratio never crosses heats.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from benchmarks.harness import figures
from benchmarks.harness.machine import ROOT, free_gib
from numpy.typing import NDArray

Kind = Literal["reference", "peer", "limbeck", "ceiling"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One contestant.

    Args:
        name: As in the table.
        kind: The reference gives the truth and the time that ratios are to; a ceiling is a bare matrix product.
        target: "module:Class" of a `worker.Contestant`.
        settings: Its constructor's arguments, JSON.
        ceiling: The name of the ceiling that its arithmetic has, if there is one.
        gib: The memory it is expected to take, which only decides who runs beside whom.
        cases: The cases it takes part in.
        python: The interpreter it needs; this one if not given.
    """

    name: str
    kind: Kind
    target: str
    cases: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    ceiling: str | None = None
    gib: float = 1.0
    python: str | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """Feeds that all contestants of a case are given, and how often."""

    name: str
    feeds: Mapping[str, NDArray[Any]]
    rounds: int
    warmups: int = 1


def run_contest(entries: Sequence[Entry], cases: Sequence[Case], *, threads: int, pause: float = 0.2) -> dict[str, Any]:
    """Run all heats; one reference among `entries`.

    Returns:
        `cases`: name, flops and rounds; `entries`: one record for each entry and heat, with `failed` set to the
        reason where there is no figure.
    """
    reference = next(entry for entry in entries if entry.kind == "reference")
    by_name = {entry.name: entry for entry in entries}
    room = 0.85 * free_gib()
    order = figures.heats({entry.name: entry.gib for entry in entries}, anchor=reference.name, room_gib=room)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for case in cases:
            files[case.name] = Path(folder) / f"{case.name.replace(' ', '_')}.npz"
            np.savez(files[case.name], allow_pickle=False, **case.feeds)
        records: list[dict[str, Any]] = []
        flops: dict[str, int | None] = {}
        for number, names in enumerate(order):
            _say(f"heat {number + 1} of {len(order)}: {', '.join(names)}")
            heat = _Heat([by_name[name] for name in names], cases, files, flops, threads=threads, pause=pause)
            records += [{**record, "heat": number} for record in heat.run()]
    rows = [{"name": case.name, "rounds": case.rounds, "flops": flops.get(case.name)} for case in cases]
    return {"cases": rows, "entries": records}


class _Heat:
    """Contestants that are loaded together; the first is the reference. Fills in `flops` of cases not yet there."""

    def __init__(
        self,
        entries: Sequence[Entry],
        cases: Sequence[Case],
        files: Mapping[str, Path],
        flops: dict[str, int | None],
        *,
        threads: int,
        pause: float,
    ) -> None:
        self._cases, self._files, self._pause = cases, files, pause
        self._truth: dict[str, NDArray[Any]] = {}
        self._processes = {entry.name: _Process(entry, threads) for entry in entries}
        self._records: dict[str, dict[str, Any]] = {}
        self._flops = flops

    def run(self) -> list[dict[str, Any]]:
        """Load, warm up, run the rounds, ask for memory."""
        try:
            for process in self._processes.values():
                self._prepare(process)
            for case in self._cases:
                for _ in range(case.rounds):
                    for process in self._alive(case):
                        self._time(process, case)
            for process in self._processes.values():
                self._finish(process)
        finally:
            for process in self._processes.values():
                process.close()
        return list(self._records.values())

    def _alive(self, case: Case) -> list[_Process]:
        return [
            process
            for name, process in self._processes.items()
            if case.name in process.entry.cases and not self._records[name]["failed"]
        ]

    def _prepare(self, process: _Process) -> None:
        """Load, run each case outside the rounds (compilation, first-touch), compare with the reference's output."""
        entry = process.entry
        record = self._records[entry.name] = {
            "name": entry.name,
            "kind": entry.kind,
            "ceiling": entry.ceiling,
            "settings": dict(entry.settings),
            "failed": None,
            "cases": {},
        }
        start = time.perf_counter()
        loaded = process.ask(do="load")
        record["failed"] = loaded.get("failed")
        if record["failed"]:
            _say(f"  {entry.name}: {record['failed']}")
            return
        record.update(load_seconds=loaded["seconds"], versions=loaded["versions"])
        for case in self._cases:
            if case.name in entry.cases and not record["failed"]:
                self._warm_up(process, case)
        if not record["failed"]:
            record["memory"] = {"whole": process.ask(do="memory", reset=True)}
            _say(f"  {entry.name}: ready in {time.perf_counter() - start:.1f} s")

    def _warm_up(self, process: _Process, case: Case) -> None:
        record, feeds = self._records[process.entry.name], str(self._files[case.name])
        output = self._files[case.name].with_suffix(".out.npy")
        first = process.ask(do="run", feeds=feeds, output=str(output))
        if "failed" in first:
            record["failed"] = first["failed"]
            _say(f"  {process.entry.name}, {case.name}: {first['failed']}")
            return
        found = np.load(output)
        if process.entry.kind == "reference":
            self._truth[case.name] = found
        if process.entry.kind in ("reference", "ceiling") and case.name not in self._flops:
            self._flops[case.name] = process.ask(do="flops", feeds=feeds).get("flops")
        truth = self._truth.get(case.name)
        error = None if truth is None else figures.relative_error(found, truth)
        record["cases"][case.name] = {"first_seconds": first["seconds"], "error": error, "seconds": []}
        for _ in range(case.warmups):
            process.ask(do="run", feeds=feeds)

    def _time(self, process: _Process, case: Case) -> None:
        time.sleep(self._pause)  # threads of the one before stop spinning
        record = self._records[process.entry.name]
        answer = process.ask(do="run", feeds=str(self._files[case.name]))
        if "failed" in answer:
            record["failed"] = answer["failed"]
        else:
            record["cases"][case.name]["seconds"].append(answer["seconds"])

    def _finish(self, process: _Process) -> None:
        record = self._records[process.entry.name]
        if record["failed"]:
            return
        record["memory"]["running"] = process.ask(do="memory")
        peaks = [part["peak"] for part in record["memory"].values()]
        record["memory"]["peak"] = max(peaks)


class _Process:
    """A worker and the pipe to it."""

    def __init__(self, entry: Entry, threads: int) -> None:
        self.entry = entry
        count = str(threads)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
        command = [
            entry.python or sys.executable,
            "-m",
            "benchmarks.harness.worker",
            entry.target,
            json.dumps(dict(entry.settings)),
        ]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request; a worker that died answers with what it last wrote to standard error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        status = self._process.wait()
        self._log.seek(0)
        last = (self._log.read().strip().splitlines() or ["nothing was written"])[-1]
        return {"failed": f"the process ended with status {status}: {last[:300]}"}

    def close(self) -> None:
        """End of its input is the end of the worker."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()


def _say(line: str) -> None:
    print(line, flush=True)
