"""What `limbeck jobs` says of a job and of what happens to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from limbeck_server.cli.plan import plan_line
from limbeck_server.cli.report import Report

if TYPE_CHECKING:
    from limbeck_server.client import Client, Event, Job


def watch_job(client: Client, job: str, report: Report, *, after: int = 0) -> Job:
    """Show what happens to a job until it has succeeded.

    Raises:
        JobError: It failed or was cancelled.
    """
    with report.progress():
        for event in client.watch(job, after):
            tell(report, event)
    return client.wait(job)


def tell(report: Report, event: Event) -> None:
    """Show an event as it happens: progress as bars, the rest as lines."""
    detail = event.detail
    if report.as_json:
        report.event(event.kind, **_fields(event))
    elif event.kind == "progress":
        report.step(detail["stage"], detail["done"], detail["total"])
    elif event.kind == "unit":
        report.step("units", detail["finished_units"], detail["num_units"])
    elif event.kind in ("retry", "out_of_memory"):
        report.warn(line(event))
    elif event.kind != "checkpoint":
        report.say(line(event))


def line(event: Event) -> str:
    """An event in words."""
    say = _WORDS.get(event.kind)
    return say(event.detail) if say else f"{event.kind}: {dict(event.detail)}"


def logged(report: Report, event: Event) -> None:
    """Show an event that has happened, in a line with its time."""
    report.event(event.kind, **_fields(event))
    when = event.at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if event.at else ""
    report.say(f"{event.sequence:>6}  {when}  {line(event)}")


def summary(job: Job) -> list[str]:
    """A job as a row of a table."""
    when = job.created_at.astimezone().strftime("%m-%d %H:%M") if job.created_at else ""
    what = job.spec.get("method") or job.spec.get("protocol") or "probe"
    state = f"{job.state}, waits: {job.waiting_for}" if job.waiting_for else str(job.state)
    return [job.name.removeprefix("jobs/"), when, str(what), state, f"{job.finished_images}/{job.num_images}"]


def describe_job(report: Report, job: Job) -> None:
    """A job as a JSON object."""
    times = {name: at.isoformat() for name, at in vars(job).items() if isinstance(at, datetime)}
    report.event("job", **{**asdict(job), **times})


def _fields(event: Event) -> dict[str, Any]:
    fields = asdict(event)
    return {"sequence": fields["sequence"], "at": event.at and event.at.isoformat(), **fields["detail"]}


def _state(detail: Mapping[str, Any]) -> str:
    text = str(detail["state"])
    if detail["waiting_for"]:
        text += f", waits: {detail['waiting_for']}"
    if detail["failure"]:
        text += f": {detail['failure'].message}"
    return text


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "state": _state,
    "plan": lambda detail: plan_line(asdict(detail["plan"])),
    "unit": lambda detail: f"unit {detail['index']} is finished, {detail['finished_units']} of {detail['num_units']}",
    "checkpoint": lambda detail: f"unit {detail['index']} has kept its state",
    "retry": lambda detail: f"unit {detail['index']} is tried again: {detail['reason']}",
    "out_of_memory": lambda detail: (
        f"out of memory in a bucket of {detail['was']}, going on in {detail['bucket']}: {detail['reason']}"
    ),
}
