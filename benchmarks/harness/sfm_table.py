"""The contestants of `benchmarks.sfm` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]

_REFERENCE = "sfm, timed"


def sfm_table(result: Record) -> str:
    """A row for each that was timed, with its ratios to SFM; then what a linear probe reached, if it was trained."""
    timed = {name: found for name, found in result["contestants"].items() if name.endswith(", timed")}
    lines = [
        "| contestant | s a step, median | quartiles | CPU s a step | h for 5,000 steps | this run: steps, s | "
        "peak private MiB, steps | whole run | times SFM: s a step, 5,000 steps, peak of the whole run |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in timed.items():
        cells = [
            name.removesuffix(", timed"),
            f"{found['seconds_per_step']:.2f}",
            f"{found['seconds_per_step_lower']:.2f}-{found['seconds_per_step_upper']:.2f}",
            f"{found['cpu_seconds_per_step']:.2f}",
            f"{found['seconds_of_published_steps'] / 3600:.2f}",
            f"{found['steps']}, {found['seconds_of_this_run']:.0f}" + (" since it was resumed" * found["resumed"]),
            f"{found['peak_private_mib']:.0f}",
            f"{found['peak_private_mib_whole_run']:.0f}",
            _ratios(found, timed.get(_REFERENCE)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n" + _probe(result.get("probe_accuracy", {}))


def _ratios(found: Record, reference: Record | None) -> str:
    if reference is None:
        return ""
    keys = ("seconds_per_step", "seconds_of_published_steps", "peak_private_mib_whole_run")
    return ", ".join(f"{found[key] / reference[key]:.2f}" for key in keys)


def _probe(accuracy: Record) -> str:
    if not accuracy:
        return ""
    lines = ["| a linear probe of | test accuracy |", "| --- | --- |"]
    for name, found in accuracy.items():
        reached = found if isinstance(found, list) else [found]
        lines.append(f"| {name} | {', '.join(f'{100 * one:.1f} %' for one in reached)} |")
    return "\n".join(lines) + "\n\n"
