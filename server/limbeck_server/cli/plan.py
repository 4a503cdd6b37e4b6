"""`limbeck plan`: what a job will take of memory, time and disk, before any of it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from limbeck.budget import format_nbytes, parse_nbytes
from limbeck.methods import make_method
from limbeck_server.cli.options import (
    BackendOption,
    BackendSetOption,
    BucketOption,
    BudgetOption,
    ClassNamesOption,
    DataOption,
    ImageColumnOption,
    IpcOption,
    LabelColumnOption,
    MethodOption,
    NormalizationOption,
    PackOption,
    PresetOption,
    ProviderOption,
    RoleBackendOption,
    SettingsOption,
    StepCacheOption,
    ThreadsOption,
    make_backend,
    make_role_backends,
    reading_of,
    step_cache_of,
)
from limbeck_server.cli.report import JsonOption, parse_settings, reporting
from limbeck_server.jobs import DistillJob
from limbeck_server.runner.planned import plan_job


def plan(
    data: DataOption,
    ipc: IpcOption = 1,
    pack: PackOption = "mini",
    method: MethodOption = "d4m",
    preset: PresetOption = "default",
    settings: SettingsOption = None,
    budget: BudgetOption = None,
    bucket: BucketOption = None,
    step_cache: StepCacheOption = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave broken images out of the count.")
    ] = False,
    image_column: ImageColumnOption = None,
    label_column: LabelColumnOption = None,
    normalization: NormalizationOption = None,
    class_names: ClassNamesOption = None,
    backend: BackendOption = "onnxruntime",
    backend_set: BackendSetOption = None,
    role_backend: RoleBackendOption = None,
    provider: ProviderOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the peak of memory part by part, the time and the disk that `limbeck distill` would take.

    Engines are measured in a process of their own, under the budget, and remembered; nothing is distilled.

    Example: limbeck plan --data photos/train --ipc 10 --budget 1GiB
    """
    with reporting(as_json) as report:
        job = DistillJob(
            method=make_method(method, ipc=ipc, preset=preset, settings=parse_settings(settings or [])),
            pack=pack,
            data=data,
            out=Path(),
            backend=make_backend(backend, provider, threads, backend_set, pack=pack),
            role_backends=make_role_backends(role_backend or [], threads, pack=pack),
            bucket=bucket,
            budget_nbytes=None if budget is None else parse_nbytes(budget),
            step_cache=step_cache_of(step_cache),
            skip_unreadable=skip_unreadable,
            reading=reading_of(image_column, label_column, normalization, class_names),
        )
        with report.progress():
            fields: dict[str, Any] = plan_job(job, report.step)
        report.event("plan", **fields)
        report.table(
            "peak of memory",
            ["part", "bytes"],
            [[part, format_nbytes(nbytes)] for part, nbytes in fields["parts"].items()]
            + [["together", format_nbytes(fields["peak_nbytes"])]],
            numbers=True,
        )
        if fields["stages"]:
            report.table(
                "peak of each engine's turn",
                ["engine", "bytes"],
                [[role, format_nbytes(nbytes)] for role, nbytes in fields["stages"].items()],
                numbers=True,
            )
        report.say(plan_line(fields))
        report.say(
            f"engines take {_time(fields['seconds'])}, images at most {format_nbytes(fields['disk_nbytes'])} of disk"
        )


def plan_line(fields: Mapping[str, Any]) -> str:
    """A plan in one line: the peak, the buckets, and what is loaded together."""
    budget = fields.get("budget_nbytes")
    of = f" of {format_nbytes(budget)}" if budget else ""
    loaded = " | ".join(" ".join(group) for group in fields["groups"] if group) or "no engine"
    return (
        f"plan: peak {format_nbytes(fields['peak_nbytes'])}{of}, bucket {fields['bucket']}, "
        f"codec {fields['codec_bucket']}, loaded together: {loaded}"
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
