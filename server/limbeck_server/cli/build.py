"""`limbeck build`: a pack in the precision that is measured to pay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from limbeck.backends.base import AheadOfTimeBackend, Backend
from limbeck.budget import format_nbytes, parse_nbytes
from limbeck.build.options import Asked, BuildOptions
from limbeck.cache import Cache
from limbeck.errors import ConfigError
from limbeck.pack import BuildTrial, Pack, Role
from limbeck_server.cli.options import (
    BackendOption,
    BackendSetOption,
    ProviderOption,
    ThreadsOption,
    make_backend,
    step_cache_of,
)
from limbeck_server.cli.report import JsonOption, Report, reporting
from limbeck_server.runner.interrupt import sigterm_as_ctrl_c


def build(
    pack: Annotated[str, typer.Argument(help="A float32 pack: a folder made by `limbeck export`, or a shipped pack.")],
    out: Annotated[Path, typer.Option(help="The pack folder to make; it must not exist.")],
    precision: Annotated[
        Asked, typer.Option(help="auto measures candidates and keeps the fastest that passes the quality gate.")
    ] = "auto",
    budget: Annotated[
        str | None, typer.Option(help="The most memory one engine may take: 4GiB, 768MiB.", show_default="no limit")
    ] = None,
    roles: Annotated[
        list[str] | None,
        typer.Option("--role", help="A graph to work on; may be repeated.", show_default="all of the pack"),
    ] = None,
    bucket: Annotated[int, typer.Option(min=1, max=4096, help="Samples in one engine call while measuring.")] = 8,
    quick: Annotated[bool, typer.Option("--quick", help="Ask the quality gate's fewest questions.")] = False,
    gate_seconds: Annotated[float, typer.Option(help="About how long the gate may ask one candidate.")] = 240.0,
    seed: Annotated[int, typer.Option(help="Fixes the gate's questions.")] = 0,
    step_cache: Annotated[
        str | None,
        typer.Option(
            help="Cut the DiT, and have the gate judge a step cache, such as every=2,order=1, together with the "
            "precision that was kept. What it accepts, limbeck distill --step-cache may use.",
            show_default="none",
        ),
    ] = None,
    ahead_of_time: Annotated[
        bool,
        typer.Option(
            "--ahead-of-time",
            help="Only build tensorrt-rtx engines, into the cache, for GPUs that are elsewhere; nothing is measured.",
        ),
    ] = False,
    backend: BackendOption = "onnxruntime",
    backend_set: BackendSetOption = None,
    provider: ProviderOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a pack at the best precision that is measured to be good enough on this machine.

    Every candidate is timed beside the float32 graph and judged by the quality gate on what distillation needs; what
    was refused, and by how much, is in the new pack: limbeck inspect. Needs: pip install 'limbeck\\[export]'

    Example: limbeck build mini --out packs/mini-int8 --precision int8
    """
    from limbeck.build.ahead import build_ahead
    from limbeck.build.build import build_pack

    with reporting(as_json) as report:
        options = BuildOptions(
            precision=precision,
            budget_nbytes=None if budget is None else parse_nbytes(budget),
            roles=tuple(_role(name) for name in roles) if roles else None,
            bucket=bucket,
            gate_seconds=gate_seconds,
            quick=quick,
            seed=seed,
            step_cache=step_cache_of(step_cache),
        )
        engines = make_backend(backend, provider, threads, backend_set, pack=pack)
        if isinstance(engines, AheadOfTimeBackend) and not ahead_of_time:
            engines.find_device()  # the first candidate would be run minutes from now
        with sigterm_as_ctrl_c(), report.progress():
            if ahead_of_time:
                builder = _ahead_of_time(engines)
                manifest = build_ahead(Pack.open(pack), out, builder, options, cache=Cache(), on_step=report.step)
            else:
                manifest = build_pack(Pack.open(pack), out, engines, options, on_step=report.step)
        for trial in manifest.trials:
            report.event("trial", **trial.model_dump(mode="json"))
        show_trials(report, manifest.trials)
        precisions = {role: graph.precision for role, graph in manifest.graphs.items()}
        report.event("built", out=str(out), precisions=precisions)
        shown = ", ".join(f"{role} {name}" for role, name in precisions.items())
        report.say(f"pack {manifest.name} in {out}: {shown}")


def show_trials(report: Report, trials: tuple[BuildTrial, ...]) -> None:
    """The table of trials: what was kept, what was refused, and by how much."""
    if not trials:
        return
    report.table(
        "what was tried",
        ["graph", "precision", "kept", "ms a call", "of the time before", "peak memory", "file"],
        [_row(trial) for trial in trials],
    )
    for trial in trials:
        report.say(f"  {_name(trial)} {_outcome(trial)}: {trial.reason}")


def _ahead_of_time(backend: Backend) -> AheadOfTimeBackend:
    """The backend, which must be one that builds ahead of time."""
    if not isinstance(backend, AheadOfTimeBackend):
        raise ConfigError(
            f"the {backend.name} backend builds nothing ahead of time; ask for "
            "--backend tensorrt-rtx --backend-set targets=SM86,SM89"
        )
    return backend


def _name(trial: BuildTrial) -> str:
    """The graph and its precision, and of a step cache the setting."""
    if trial.role != "shallow":
        return f"{trial.role} {trial.precision}"
    return f"step cache {','.join(f'{name}={value}' for name, value in trial.recipe.items())} at {trial.precision}"


def _outcome(trial: BuildTrial) -> str:
    if trial.kept:
        return "kept"
    return "built" if "engine_nbytes" in trial.figures else "refused"


def _row(trial: BuildTrial) -> list[str]:
    found = trial.figures
    if not found:
        return [trial.role, trial.precision, "no", "", "", "", ""]
    if "engine_nbytes" in found:
        nbytes = format_nbytes(int(found["engine_nbytes"]))
        return [trial.role, trial.precision, "not measured", "", "", "", nbytes]
    return [
        trial.role,
        trial.precision,
        "yes" if trial.kept else "no",
        f"{1000 * found['seconds']:.1f}",
        f"{found['time_ratio']:.2f}",
        format_nbytes(int(found["peak_nbytes"])) if "peak_nbytes" in found else "",
        format_nbytes(int(found["file_nbytes"])),
    ]


def _role(name: str) -> Role:
    for role in get_args(Role):
        if role == name:
            return cast(Role, role)
    raise ConfigError(f"unknown role '{name}'; there are: {', '.join(get_args(Role))}")
