"""Results as Markdown, and into docs/benchmarks.md between their markers.

    python -m benchmarks.harness.tables          rewrites the page

A block begins with `<!-- table of FILE -->`, FILE being in benchmarks/results, and ends with `<!-- end of table -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness.figures import gflops, spread
from benchmarks.harness.machine import ROOT
from benchmarks.harness.server_table import server_table
from benchmarks.harness.sfm_table import sfm_table

PAGE = ROOT / "docs/benchmarks.md"
RESULTS = ROOT / "benchmarks/results"
MARKED = re.compile(r"(<!-- table of (?P<file>[\w.-]+) -->\n).*?(<!-- end of table -->\n)", re.DOTALL)

Record = Mapping[str, Any]


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(with_tables(PAGE.read_text()))


def with_tables(page: str, results: Path = RESULTS) -> str:
    """`page` with every marked block replaced by the table of its file."""

    def block(found: re.Match[str]) -> str:
        file = results / found["file"]
        text = table(json.loads(file.read_text())) if file.is_file() else "Not measured yet.\n"
        return f"{found[1]}\n{text}\n{found[3]}"

    return MARKED.sub(block, page)


def table(result: Record) -> str:
    """One result: where it was measured, the ceilings, a table for each case, what could not be measured."""
    if result["claim"] == "end_to_end":
        return _head(result) + _whole_processes(result) + _failures(result)
    if result["claim"] == "server":
        return _head(result) + server_table(result)
    if result["claim"] == "sfm":
        return _head(result) + sfm_table(result)
    if result["claim"] == "profile":
        return _head(result) + _profile(result)
    parts = [_head(result), _ceiling_line(result)]
    parts += [_case(result, case) for case in result["cases"] if case["name"] != "gemm"]
    return "".join(parts) + _failures(result)


def ceilings(result: Record) -> dict[str, float]:
    """GFLOP/s of the fastest library at each precision, by its best run."""
    found: dict[str, float] = {}
    for entry in _measured(result, "gemm"):
        rate = gflops(_flops(result, "gemm"), min(entry["cases"]["gemm"]["seconds"]))
        found[entry["ceiling"]] = max(rate, found.get(entry["ceiling"], 0.0))
    return found


def _head(result: Record) -> str:
    machine, revision = result["machine"], result["revision"]
    sets = ", ".join(machine["instructions"])
    commit = (revision["commit"] or "unknown")[:7] + (", tree changed" if revision["changed"] else "")
    threads = result["settings"]["threads"]
    return (
        f"Measured {result['date'][:10]} on {machine['cores']} cores of {machine['processor']} (family "
        f"{machine['family']}, model {machine['model']}; {sets}), {machine['memory_gib']} GiB, {threads} threads, "
        f"revision {commit}.\n\n"
    )


def _ceiling_line(result: Record) -> str:
    side = result["settings"]["gemm_side"]
    rates = ", ".join(f"{precision} {rate:.0f}" for precision, rate in ceilings(result).items())
    return f"Matrix products of side {side} reach {rates} GFLOP/s.\n\n" if rates else ""


def _case(result: Record, case: Record) -> str:
    name, flops = case["name"], _flops(result, case["name"])
    entries = list(_measured(result, name))
    first = {entry["heat"]: entry for entry in entries if entry["kind"] == "reference"}
    shown = [entry for entry in entries if entry["kind"] != "reference" or entry["heat"] == min(first)]
    best_rates = ceilings(result)
    lines = [
        f"**{name}**, {flops / 1e9:.0f} GFLOP, {case['rounds']} rounds\n",
        "| engine | median s | quartiles | best s | times the reference, median / best | of its ceiling | "
        "peak MB | running: anonymous + file MB | load + first s | relative error |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in sorted(shown, key=lambda e: -spread(e["cases"][name]["seconds"]).median):
        times, base = spread(entry["cases"][name]["seconds"]), spread(first[entry["heat"]]["cases"][name]["seconds"])
        rate = best_rates.get(entry["ceiling"])
        running = entry["memory"]["running"]
        cells = [
            _name(entry),
            f"{times.median:.2f}",
            f"{times.lower:.2f}-{times.upper:.2f}",
            f"{times.best:.2f}",
            f"{base.median / times.median:.2f} / {base.best / times.best:.2f}",
            f"{100 * gflops(flops, times.best) / rate:.0f} % of {entry['ceiling']}" if rate else "",
            f"{entry['memory']['peak'] / 1e6:.0f}",
            f"{running['anonymous'] / 1e6:.0f} + {running['file'] / 1e6:.0f}",
            f"{entry['load_seconds']:.1f} + {entry['cases'][name]['first_seconds']:.1f}",
            _error(entry, name),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n"


def _whole_processes(result: Record) -> str:
    entries = [entry for entry in result["entries"] if not entry["failed"]]
    base = spread(next(entry["seconds"] for entry in entries if entry["kind"] == "reference"))
    lines = [
        "| command | wall s, median | best | times the reference, median / best | peak MB of the whole process |",
        "| --- | --- | --- | --- | --- |",
    ]
    for entry in sorted(entries, key=lambda e: -spread(e["seconds"]).median):
        times = spread(entry["seconds"])
        ratio = f"{base.median / times.median:.2f} / {base.best / times.best:.2f}"
        cells = [
            _name(entry),
            f"{times.median:.1f}",
            f"{times.best:.1f}",
            ratio,
            f"{max(entry['peak_nbytes']) / 1e6:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n"


def _profile(result: Record) -> str:
    about = "The {precision} trunk at batch {batch}, mean of {runs} profiled passes.\n\n"
    return (
        about.format(**result["settings"])
        + _shares(result["milliseconds_by_kind"], "part")
        + "\n"
        + _shares(result["milliseconds"], "operator, as ONNX Runtime fused it")
    )


def _shares(spent: Mapping[str, float], head: str) -> str:
    """Parts of at least half a percent, the rest in one line, and the sum."""
    total = sum(spent.values())
    shown = {name: value for name, value in spent.items() if value >= 0.005 * total}
    lines = [f"| {head} | ms a pass | share |", "| --- | --- | --- |"]
    for name, value in [*shown.items(), ("all others", total - sum(shown.values())), ("**together**", total)]:
        lines.append(f"| {name} | {value:.1f} | {100 * value / total:.1f} % |")
    return "\n".join(lines) + "\n"


def _failures(result: Record) -> str:
    lines = [f"- {entry['name']}: not measured: {entry['failed']}" for entry in result["entries"] if entry["failed"]]
    return "\n".join(lines) + "\n" if lines else ""


def _measured(result: Record, case: str) -> Iterator[Record]:
    return (entry for entry in result["entries"] if not entry["failed"] and case in entry["cases"])


def _flops(result: Record, case: str) -> float:
    return float(next(row["flops"] for row in result["cases"] if row["name"] == case))


def _name(entry: Record) -> str:
    return f"**{entry['name']}**" if entry["kind"] == "limbeck" else str(entry["name"])


def _error(entry: Record, case: str) -> str:
    if entry["kind"] == "reference":
        return "0, the reference"
    return f"{entry['cases'][case]['error']:.1e}"


if __name__ == "__main__":
    main()
