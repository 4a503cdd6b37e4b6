"""`limbeck jobs`: jobs on a server, from making one to having its set here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck_server.cli.jobs_connection import JobArgument, named, on_server
from limbeck_server.cli.jobs_report import describe_job, logged, summary, watch_job
from limbeck_server.cli.jobs_submit import submit
from limbeck_server.cli.report import Report
from limbeck_server.store.records import JobState

if TYPE_CHECKING:
    from limbeck_server.client import Client

app = typer.Typer(
    name="jobs",
    help="Make, follow and end jobs on a server, and fetch what they made.\n\n"
    "Example: limbeck jobs submit --server gpu:50051 --data photos/train --ipc 10 --out distilled",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@on_server
def list_jobs(
    client: Client,
    report: Report,
    state: Annotated[list[JobState] | None, typer.Option(help="Only jobs in this state; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, newest first.")] = 50,
) -> None:
    """List your jobs, newest first.

    Example: limbeck jobs list --server gpu:50051 --state running
    """
    jobs = [job for _, job in zip(range(limit), client.jobs(state or ()), strict=False)]
    for job in jobs:
        describe_job(report, job)
    rows = [summary(job) for job in jobs]
    report.table("jobs", ["job", "made", "what", "state", "images"], rows, whole_names=True)


@on_server
def watch(
    client: Client,
    report: Report,
    job: JobArgument,
    after: Annotated[int, typer.Option(min=0, help="The number of the last event that you have seen.")] = 0,
) -> None:
    """Show what happens to a job until it is done; Ctrl-C ends the showing, not the job.

    Example: limbeck jobs watch jobs/0123456789abcdef0123456789abcdef --server gpu:50051
    """
    ended = watch_job(client, named("jobs", job), report, after=after)
    describe_job(report, ended)
    if ended.distilled_set:
        report.say(f"its set is {ended.distilled_set}: limbeck jobs fetch {ended.name} --out FOLDER")


@on_server
def cancel(
    client: Client,
    report: Report,
    job: JobArgument,
) -> None:
    """Ask for a job's end, which comes within a step.

    Example: limbeck jobs cancel jobs/0123456789abcdef0123456789abcdef --server gpu:50051
    """
    asked = client.cancel(named("jobs", job))
    describe_job(report, asked)
    report.say(f"{asked.name} is {asked.state}" + ("" if asked.is_final else ", and ends within a step"))


@on_server
def fetch(
    client: Client,
    report: Report,
    source: Annotated[str, typer.Argument(help="A job that is done, or a distilled set, by its name.")],
    out: Annotated[Path, typer.Option(help="The folder to make; it must not exist.")],
) -> None:
    """Fetch a distilled set: the same files as `limbeck distill` writes, each held against its digest.

    What a broken fetch left is continued by the same command.

    Example: limbeck jobs fetch jobs/0123456789abcdef0123456789abcdef --out distilled --server gpu:50051
    """
    with report.progress():
        client.download(named("jobs", source), out, on_progress=report.step)
    report.event("fetched", out=str(out))
    report.say(f"the set is in {out}\nto look at: {out / 'preview.png'}")


@on_server
def delete(
    client: Client,
    report: Report,
    job: JobArgument,
) -> None:
    """Let the server forget a job that is done, failed or cancelled. Its distilled set stays there.

    Example: limbeck jobs delete jobs/0123456789abcdef0123456789abcdef --server gpu:50051
    """
    found = client.job(named("jobs", job))  # nothing but a job: a set's name must not delete the set
    client.delete(found)
    report.event("deleted", job=found.name, distilled_set=found.distilled_set)
    stays = f"; its set stays: {found.distilled_set}" if found.distilled_set else ""
    report.say(f"{found.name} is forgotten{stays}")


@on_server
def logs(
    client: Client,
    report: Report,
    job: JobArgument,
) -> None:
    """Show what has happened to a job until now.

    Example: limbeck jobs logs jobs/0123456789abcdef0123456789abcdef --server gpu:50051
    """
    for event in client.events(named("jobs", job)):
        logged(report, event)


app.command(no_args_is_help=True)(submit)
app.command("list")(list_jobs)
for command in (watch, cancel, fetch, logs, delete):
    app.command(no_args_is_help=True)(command)
