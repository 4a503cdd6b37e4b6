"""`limbeck doctor`: what this machine can run, by numeric probe."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import psutil
import typer

import limbeck
from limbeck.errors import EngineError
from limbeck.models import open_models
from limbeck.pack import Pack, shipped_packs
from limbeck.pack_probe import CODEC_LIMIT, DENOISER_LIMIT, probe
from limbeck.probes.machine import installed, probe_machine
from limbeck.probes.words import estimates, hints, summary
from limbeck_server.cli.doctor_server import ask
from limbeck_server.cli.jobs_connection import CaOption, TokenFileOption
from limbeck_server.cli.options import (
    BackendOption,
    BackendSetOption,
    PackOption,
    ProviderOption,
    ThreadsOption,
    make_backend,
)
from limbeck_server.cli.report import JsonOption, Report, reporting

PACKAGES = ("numpy", "onnxruntime", "pillow", "scikit-learn", "pyarrow", "torch", "diffusers", "onnx", "timm")


def doctor(
    pack: PackOption = "mini",
    folder: Annotated[Path, typer.Option(help="Where free disk is measured.", exists=True)] = Path(),
    backend: BackendOption = "onnxruntime",
    backend_set: BackendSetOption = None,
    provider: ProviderOption = None,
    threads: ThreadsOption = None,
    pack_only: Annotated[bool, typer.Option("--pack-only", help="Probe the pack, not every backend.")] = False,
    server: Annotated[
        str | None, typer.Option(help="Look at a server instead, at host:port.", show_default=False)
    ] = None,
    token_file: TokenFileOption = None,
    ca: CaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what this machine can run, at which precision and how fast, and what to install for more.

    Every installed backend computes small graphs whose answers are known, in a process of its own; then the engines of
    a pack are probed the same way. With --server: whether a server is reached, its certificate, health, disk, clock.

    Example: limbeck doctor
    """
    with reporting(as_json) as report:
        if server is not None:
            ask(report, server, token_file, ca)
            return
        import onnxruntime as ort

        engines = make_backend(backend, provider, threads, backend_set, pack=pack)
        memory = psutil.virtual_memory()
        facts: dict[str, object] = {
            "limbeck": limbeck.__version__,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory": f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free",
            "disk": f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB free in {folder.resolve()}",
            "providers": ", ".join(ort.get_available_providers()),
            "packs": ", ".join(shipped_packs()),
        }
        facts |= {f"package {name}": _version(name) for name in PACKAGES}
        report.event("machine", **facts)
        report.table("this machine", ["what", "found"], list(facts.items()))
        if not pack_only:
            _show_backends(report, threads)
        with open_models(Pack.open(pack), engines, bucket=1) as models:
            found = probe(models)
        report.event("probe", passed=found.passed, **asdict(found))
        report.table(
            f"the engines of pack {pack}",
            ["probe", "found", "limit"],
            [
                [
                    "codec: error of the round trip, of a pixel's range",
                    f"{found.codec_error:.3f}",
                    f"at most {CODEC_LIMIT}",
                ],
                [
                    "denoiser: cosine of found and true noise",
                    f"{found.denoiser_cosine:.3f}",
                    f"at least {DENOISER_LIMIT}",
                ],
            ],
        )
        if not found.passed:
            raise EngineError(f"the engines of pack '{pack}' compute wrong numbers on this machine, see the probe")


def _show_backends(report: Report, threads: int | None) -> None:
    found = []
    for one in probe_machine(installed(threads=threads)):
        found.append(one)
        report.event("backend", **asdict(one))
        for line in summary(one):
            report.say(line)
    rows = []
    for workload, backend, precision, seconds in estimates(found):
        report.event("estimate", workload=workload.name, backend=backend, precision=precision, seconds=seconds)
        rows.append([workload.name, f"{backend}, {precision}", f"{seconds:.2f} s"])
    report.table(
        "at best, from the measured rates (norms and activations come on top; quality is for limbeck build to judge)",
        ["work", "fastest here", "time"],
        rows,
    )
    for hint in hints():
        report.event("hint", message=hint)
        report.say(hint)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
