"""`limbeck distill`: a distilled set from real images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from limbeck.budget import parse_nbytes
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
from limbeck_server.cli.plan import plan_line
from limbeck_server.cli.report import JsonOption, Report, parse_settings, reporting
from limbeck_server.jobs import DistillJob
from limbeck_server.runner.interrupt import stop_signals
from limbeck_server.runner.local import run_distill


def distill(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="The folder to make; it must not exist.")],
    ipc: IpcOption = 1,
    pack: PackOption = "mini",
    method: MethodOption = "d4m",
    preset: PresetOption = "default",
    settings: SettingsOption = None,
    seed: Annotated[int, typer.Option(help="With class and index, fixes every image.")] = 0,
    budget: BudgetOption = None,
    bucket: BucketOption = None,
    step_cache: StepCacheOption = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave broken images out and list them in the manifest.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped or killed.")] = False,
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
    """Distill a dataset into --ipc images per class.

    The result is an ImageFolder with a manifest, a dataset card and preview.png. Ctrl-C stops at the end of a step;
    --resume continues a stopped or killed run and ends in the same files.

    Example: limbeck distill --data photos/train --ipc 10 --out distilled
    """
    with reporting(as_json) as report:
        job = DistillJob(
            method=make_method(method, ipc=ipc, seed=seed, preset=preset, settings=parse_settings(settings or [])),
            pack=pack,
            data=data,
            out=out,
            backend=make_backend(backend, provider, threads, backend_set, pack=pack),
            role_backends=make_role_backends(role_backend or [], threads, pack=pack),
            bucket=bucket,
            budget_nbytes=None if budget is None else parse_nbytes(budget),
            step_cache=step_cache_of(step_cache),
            skip_unreadable=skip_unreadable,
            resume=resume,
            reading=reading_of(image_column, label_column, normalization, class_names),
        )
        with stop_signals() as stop, report.progress():
            result = run_distill(
                job,
                on_progress=report.step,
                on_event=lambda event, fields: _tell(report, event, fields),
                should_stop=stop,
            )
        for name, reason in result.skipped:
            report.warn(f"left out: {name}: {reason}")
        report.event(
            "distilled",
            out=str(out),
            images=result.images,
            classes=result.classes,
            skipped=result.skipped,
            memory=result.memory,
        )
        report.say(f"{result.images} images of {result.classes} classes in {out}\nto look at: {out / 'preview.png'}")


def _tell(report: Report, event: str, fields: Mapping[str, Any]) -> None:
    """What the runner decided on the way."""
    report.event(event, **fields)
    if event == "plan":
        report.say(plan_line(fields))
    elif not report.as_json:
        report.warn(f"out of memory in a bucket of {fields['was']}, going on in {fields['bucket']}: {fields['reason']}")
