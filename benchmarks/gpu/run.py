"""Everything that needs a GPU, checked and timed in stages; without one, what a CPU can do of it.

    python -m benchmarks.gpu.run --work DIR --stage prepare                  sources and packs: 3 to 6 minutes
    python -m benchmarks.gpu.run --work DIR --stage dit unet vae backbone    torch, ONNX Runtime, TensorRT, interleaved
    python -m benchmarks.gpu.run --work DIR --stage build                    TensorRT-RTX ahead of time, no GPU needed
    python -m benchmarks.gpu.run --work DIR --stage train                    training steps of the mini denoiser

Each stage fits into ten minutes on a large card and writes its own dated JSON; what a machine cannot do is "not
measured", with the reason. Times are from host arrays to host arrays: the copies that `Engine.run` makes are in them.
Every output is compared with torch's fp32 without TF32. `--small` takes small networks: minutes on a CPU, to see that
all of it runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.gpu.contestants import TRAIN, network_contest, train_contest
from benchmarks.harness.contest import run_contest
from benchmarks.harness.figures import spread
from benchmarks.harness.machine import ROOT, num_cores, provenance
from benchmarks.harness.options import SEED, write
from benchmarks.layout import Layout

NETWORK_STAGES = ("dit", "unet", "vae", "backbone")
BATCHES = {"dit": (2, 16, 64), "unet": (2, 8), "vae": (1, 8), "backbone": (8, 64)}
SMALL_BATCHES = dict.fromkeys(NETWORK_STAGES, (2,))
ROLES: Mapping[str, str] = {"dit": "trunk", "unet": "trunk", "vae": "decoder", "backbone": "backbone"}
SOURCES = {"dit": "dit", "unet": "sd", "vae": "dit", "backbone": "backbone"}
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-static")
TARGETS = ("SM75", "SM86", "SM89")
"""A 4 GB laptop card, an A10 or RTX 30, an L4 or RTX 40."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a stage is given."""

    layout: Layout
    networks: tuple[str, ...]
    small: bool
    rounds: int
    device: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stages that were named, one after another."""
    stages: dict[str, Callable[[Settings], list[dict[str, Any]]]] = {
        "prepare": _prepare,
        **{network: partial(_network, network=network) for network in NETWORK_STAGES},
        "build": _build,
        "train": _train,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for networks and packs, about 12 GB")
    parser.add_argument("--stage", nargs="+", choices=list(stages), default=list(stages))
    parser.add_argument("--networks", nargs="+", choices=NETWORK_STAGES, default=list(NETWORK_STAGES))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results", help="the folder for the JSON")
    parser.add_argument("--small", action="store_true", help="small networks, one batch")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args(arguments)
    settings = Settings(
        layout=Layout(options.work.resolve()),
        networks=tuple(options.networks),
        small=options.small,
        rounds=options.rounds,
        device="cuda" if _gpu() else "cpu",
    )
    for stage in options.stage:
        start = time.perf_counter()
        rows = stages[stage](settings)
        head = {"format": 1, "claim": f"gpu-{stage}", **provenance(), "gpu": _gpu()}
        name = f"gpu-{stage}{'-small' if settings.small else ''}-{datetime.now(UTC):%Y-%m-%d}.json"
        if rows:
            about = {"small": settings.small, "rounds": settings.rounds, "device": settings.device, "seed": SEED}
            text = json.dumps({**head, "settings": about, "rows": rows})
            write(options.out / name, json.loads(text.replace(str(settings.layout.work), "WORK")))
        print(f"\n{stage}: {time.perf_counter() - start:.0f} s\n{short_table(rows)}", flush=True)


def short_table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a row: what, milliseconds, device memory, error; or why there is no figure."""
    lines = []
    for row in rows:
        if row["failed"]:
            lines.append(f"{row['name']:<52} not measured: {row['failed'][:90]}")
            continue
        shown = [(row[key] * factor, digits, unit) for key, factor, digits, unit in _UNITS if row.get(key) is not None]
        figures = [f"{value:10.{digits}f} {unit}" for value, digits, unit in shown]
        error = f"  error {row['error']:.1e}" if row.get("error") is not None else ""
        lines.append(f"{row['name']:<52}{''.join(figures)}{error}")
    return "\n".join(lines)


_UNITS = (
    ("median", 1e3, 2, "ms"),
    ("best", 1e3, 2, "ms best"),
    ("build_seconds", 1, 1, "s to build"),
    ("engine_nbytes", 1e-6, 0, "MB engine"),
    ("device_nbytes", 1e-6, 0, "MB on the device"),
)


def _gpu() -> dict[str, str] | None:
    """Name, memory, driver and compute capability of the first GPU; None without one."""
    keys = ("name", "memory.total", "driver_version", "compute_cap")
    try:
        asked = ["nvidia-smi", f"--query-gpu={','.join(keys)}", "--format=csv,noheader"]
        lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    return dict(zip(keys, (part.strip() for part in lines[0].split(",")), strict=True)) if lines else None


def _prepare(settings: Settings) -> list[dict[str, Any]]:
    """Sources and packs, each by its own script; a pack that cannot be made is a row that is not measured."""
    work = str(settings.layout.work)
    small = ["--small"] if settings.small else []
    sources = ["benchmarks.prepare", "sources", "--work", work, "--network", *settings.networks, *small]
    subprocess.run([sys.executable, "-m", *sources], cwd=ROOT, check=True)
    for precision, source in product(PRECISIONS, sorted({SOURCES[network] for network in settings.networks})):
        if not settings.layout.pack(source, precision).exists():
            made = [sys.executable, "-m", "benchmarks.packs", precision, "--work", work, "--source", source]
            subprocess.run(made, cwd=ROOT, check=False)
    return []


def _network(settings: Settings, network: str) -> list[dict[str, Any]]:
    """A contest for each batch: sizes are fixed, as a planned bucket is, so that TensorRT's engines are the best."""
    rows = []
    for batch in (SMALL_BATCHES if settings.small else BATCHES)[network]:
        entries, case = network_contest(
            settings.layout, network, batch=batch, rounds=settings.rounds, device=settings.device, threads=num_cores()
        )
        rows += _rows(run_contest(entries, [case], threads=num_cores(), pause=0.0))
    return rows


def _train(settings: Settings) -> list[dict[str, Any]]:
    entries, case = train_contest(device=settings.device, rounds=settings.rounds, threads=num_cores())
    return _rows(run_contest(entries, [case], threads=num_cores(), pause=0.0))


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A contest's records, one row a contestant and case."""
    rows = []
    for record in found["entries"]:
        base: dict[str, Any] = {"name": record["name"], "failed": record["failed"], "settings": record["settings"]}
        if record["failed"]:
            rows.append(base)
            continue
        for case, figures in record["cases"].items():
            rows.append(
                {
                    **base,
                    "name": f"{record['name']}, {case}",
                    "versions": record["versions"],
                    **asdict(spread(figures["seconds"])),
                    "seconds": figures["seconds"],
                    "first_seconds": figures["first_seconds"],
                    "error": None if case == TRAIN else figures["error"],
                    "device_nbytes": record["memory"]["running"]["device"],
                    "process_nbytes": record["memory"]["peak"],
                }
            )
    return rows


def _build(settings: Settings) -> list[dict[str, Any]]:
    """TensorRT-RTX engines at fp16 and int8 Q/DQ for every target, in a process each; seconds, bytes, peak memory."""
    rows: list[dict[str, Any]] = []
    for network in settings.networks:
        for precision, target in product(("fp16", "int8-static"), TARGETS):
            pack = settings.layout.pack(SOURCES[network], precision)
            name = f"TensorRT-RTX, {network} {ROLES[network]}, {precision}, {target}"
            arguments = ["--pack", str(pack), "--role", ROLES[network], "--target", target]
            batch = ["--batch", str((SMALL_BATCHES if settings.small else BATCHES)[network][0])]
            latent = ["--size", "latent_height=8" if settings.small else "latent_height=32"]
            latent += ["latent_width=8" if settings.small else "latent_width=32"]
            asked = [sys.executable, "-m", "benchmarks.gpu.build_engine", *arguments, *batch, *latent]
            done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
                rows.append({"name": name, "failed": reason[:300]})
            else:
                rows.append({"name": name, "failed": None, **json.loads(done.stdout.splitlines()[-1])})
            print(short_table(rows[-1:]), flush=True)
    return rows


if __name__ == "__main__":
    main()
