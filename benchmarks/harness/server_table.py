"""The stages of `benchmarks.server` as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

Record = Mapping[str, Any]


def server_table(result: Record) -> str:
    """A row for each stage that was run; those that were not say so."""
    lines = ["| stage | found | front MB | load before |", "| --- | --- | --- | --- |"]
    for name, words in _WORDS.items():
        stage = result["stages"].get(name)
        found, front = words(stage) if stage else ("not measured", "")
        lines.append(f"| {name} | {found} | {front} | {stage['load_before'] if stage else ''} |")
    return "\n".join(lines) + "\n\n"


def _overhead(stage: Record) -> tuple[str, str]:
    library, server = (statistics.median(stage["seconds"][side]) for side in ("library", "server"))
    rounds = len(stage["seconds"]["server"])
    job = f"{stage['job']['method']}, IPC {stage['job']['ipc']}"
    return (
        f"{job}: library {library:.1f} s, server {server:.1f} s, medians of {rounds}: {100 * stage['overhead']:+.1f} %",
        "",
    )


def _watchers(stage: Record) -> tuple[str, str]:
    whole, events = stage["watchers_with_every_event_once"], stage["events"]
    found = f"{whole} of {stage['watchers']} watchers got each of {events} events once"
    return found, _memory(stage["front_nbytes"], "before", "peak", "after")


def _submits(stage: Record) -> tuple[str, str]:
    seconds = stage["seconds"]
    found = (
        f"{stage['submits']} submits at once, each thing three times: {stage['jobs']} jobs; "
        f"median {seconds['median']:.2f} s, worst {seconds['worst']:.2f} s"
    )
    return found, ""


def _transfers(stage: Record) -> tuple[str, str]:
    parts = []
    for way in ("up", "down"):
        for kills in (0, stage["kills"]):
            one = stage[f"{way}_{kills}_kills"]
            whole = "" if one["whole"] else ", NOT THE SAME BYTES"
            parts.append(f"{way} {one['seconds']:.0f} s with {kills} kills of the server{whole}")
    return f"{stage['nbytes'] / 1e9:.1f} GB: " + ", ".join(parts), f"{stage['front_nbytes'] / 1e6:.0f}"


def _slow(stage: Record) -> tuple[str, str]:
    found = (
        f"1,000 images read in {stage['seconds_alone']:.1f} s alone, {stage['seconds_beside']:.1f} s beside "
        f"{stage['slow_readers']} readers that sleep"
    )
    return found, _memory(stage["front_nbytes"], "before", "with_readers", "after")


def _soak(stage: Record) -> tuple[str, str]:
    worker = _memory(stage["worker_nbytes"], "second_fifth", "last_fifth")
    found = f"{stage['jobs']} jobs in {stage['minutes']:.0f} minutes; worker {worker} MB (second fifth, last fifth)"
    return found, _memory(stage["front_nbytes"], "second_fifth", "last_fifth")


def _memory(nbytes: Record, *names: str) -> str:
    return ", ".join(f"{nbytes[name] / 1e6:.1f}" for name in names)


_WORDS: Mapping[str, Callable[[Record], tuple[str, str]]] = {
    "overhead": _overhead,
    "watchers": _watchers,
    "submits": _submits,
    "transfers": _transfers,
    "slow": _slow,
    "soak": _soak,
}
