"""Figures and events as people read them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from limbeck.budget import format_nbytes
from limbeck_server.store.records import JobEvent

_LONGEST = 4000


def size(nbytes: int | None) -> str:
    """Bytes in the unit that fits, "1.5 GiB"; a dash for none."""
    return format_nbytes(nbytes) if nbytes else "–"


def duration(seconds: float | None) -> str:
    """A time that something takes: "1 h 5 min"."""
    if seconds is None or seconds < 0:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(at: float | None) -> str:
    """A moment by the server's clock, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at)) if at is not None else "–"


def cut(text: object, length: int = _LONGEST) -> str:
    """A text that is not longer than a page bears."""
    shown = str(text)
    return shown if len(shown) <= length else shown[:length] + "…"


def as_json(value: Any) -> str:
    """A value for a person who wants to see all of it."""
    return cut(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str))


def title(kind: str, spec: Mapping[str, Any]) -> str:
    """A job in a few words."""
    if kind == "evaluate":
        sets = spec.get("distilled_sets") or []
        return cut(f"evaluate {len(sets)} set{'' if len(sets) == 1 else 's'} by {spec.get('protocol', '?')}", 120)
    return cut(f"{spec.get('method', '?')}, {spec.get('ipc', '?')} per class, pack {spec.get('pack', '?')}", 120)


def told(event: JobEvent) -> str:
    """What happened, in a sentence."""
    tell = _TOLD.get(event.kind)
    try:
        return cut(tell(event.detail) if tell else f"{event.kind} {json.dumps(event.detail)}", 500)
    except (KeyError, TypeError, ValueError):
        # An event of an older server: its detail is shown as it is.
        return cut(f"{event.kind} {event.detail}", 500)


def _state(detail: Mapping[str, Any]) -> str:
    text = f"is {detail['state']}"
    if detail.get("waiting_for"):
        text += f", waits: {detail['waiting_for']}"
    if failure := detail.get("failure"):
        text += f": {failure['reason']}"
    return text


_TOLD: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "state": _state,
    "plan": lambda detail: f"plan: {size(detail['peak_nbytes'])} at most, {duration(detail['seconds'])}",
    "unit": lambda detail: f"unit {detail['index']} finished ({detail['finished_units']} of {detail['num_units']})",
    "checkpoint": lambda detail: f"unit {detail['index']}: its state is kept",
    "retry": lambda detail: f"unit {detail['index']} is tried again: {detail['reason']}",
    "out_of_memory": lambda detail: f"out of memory: bucket {detail['was']} becomes {detail['bucket']}",
}
