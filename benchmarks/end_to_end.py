"""Eight images of eight classes with DiT-XL/2-256 and the KL autoencoder, from the shell to the last file.

    python -m benchmarks.end_to_end --work DIR

`DiTPipeline` and `limbeck distill` make the same eight guided walks of four DDIM steps from full noise, and decode
them. limbeck does more: it reads and encodes a real image of each class first (a distillation starts from them),
checks every digest of the pack, and writes manifest and card.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from benchmarks.harness.machine import ROOT, num_cores, provenance
from benchmarks.harness.options import SEED, write
from benchmarks.harness.tables import table
from benchmarks.harness.whole_process import Command, run_commands
from benchmarks.layout import Layout
from PIL import Image

IMAGES, STEPS, GUIDANCE = 8, 4, 4.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every command in each round, write JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the folder that benchmarks.prepare filled")
    parser.add_argument("--out", type=Path, help="the JSON to write; default benchmarks/results/end_to_end-DATE.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--threads", type=int, default=num_cores())
    parser.add_argument("--only", nargs="+", help="commands whose name contains one of these, and the reference")
    options = parser.parse_args(arguments)
    rounds = 1 if options.quick else options.rounds
    head = {"format": 1, "claim": "end_to_end", **provenance()}
    settings = {
        "threads": options.threads,
        "rounds": rounds,
        "images": IMAGES,
        "steps": STEPS,
        "guidance": GUIDANCE,
        "seed": SEED,
    }
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        _write_photos(data)
        commands = [*_diffusers(Layout(options.work.resolve()), options.threads)]
        commands += _limbeck(Layout(options.work.resolve()), data, options.threads)
        if options.only:
            commands = [c for c in commands if c.kind == "reference" or any(part in c.name for part in options.only)]
        records = run_commands(commands, rounds=rounds, images=IMAGES, threads=options.threads)
    result = {**head, "settings": settings, "entries": records}
    out = options.out or ROOT / f"benchmarks/results/end_to_end-{datetime.now(UTC):%Y-%m-%d}.json"
    write(out, result)
    print(f"\n{table(json.loads(out.read_text()))}\nwritten to {out}")


def _diffusers(layout: Layout, threads: int) -> list[Command]:
    def command(name: str, *more: str, reference: bool = False) -> Command:
        common = ["--source", str(layout.source("dit")), "--images", str(IMAGES), "--steps", str(STEPS)]
        common += ["--guidance", str(GUIDANCE), "--threads", str(threads), *more]
        return Command(
            name=name,
            kind="reference" if reference else "peer",
            arguments=lambda out: [
                sys.executable,
                "-m",
                "benchmarks.contestants.dit_pipeline",
                *common,
                "--out",
                str(out),
            ],
        )

    return [
        command("diffusers DiTPipeline, fp32", reference=True),
        command("diffusers DiTPipeline, bf16", "--dtype", "bfloat16"),
        command("diffusers DiTPipeline, bf16, torch.compile", "--dtype", "bfloat16", "--compiled"),
    ]


def _limbeck(layout: Layout, data: Path, threads: int) -> list[Command]:
    walk = {
        "sampler": "ddim",
        "num_steps": STEPS,
        "strength": 1,
        "guidance_scale": GUIDANCE,
        "guidance_interval": "[0,1]",
    }
    settings = [part for name, value in walk.items() for part in ("--set", f"{name}={value}")]

    def command(name: str, precision: str, *more: str) -> Command:
        common = ["--data", str(data), "--pack", str(layout.pack("dit", precision)), "--ipc", "1", *settings, *more]
        return Command(
            name=f"limbeck distill, {name}",
            kind="limbeck",
            arguments=lambda out: [sys.executable, "-m", "limbeck_server.cli", "distill", *common, "--out", str(out)],
        )

    ort = ("--threads", str(threads))
    bfloat16 = [f"--role-backend={role}=openvino:precision=bfloat16" for role in ("encoder", "decoder")]
    return [
        command("fp32", "fp32", *ort),
        command("int8", "int8", *ort),
        command("int8, codec in bf16 on OpenVINO", "int8", *ort, *bfloat16),
    ]


def _write_photos(folder: Path) -> None:
    """One image of noise for each of the pack's first classes, by the names that it has there."""
    rng = np.random.default_rng(SEED)
    for label in range(IMAGES):
        path = folder / f"class {label}" / "0.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(path)


if __name__ == "__main__":
    main()
