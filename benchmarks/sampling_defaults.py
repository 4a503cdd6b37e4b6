"""Choose limbeck's sampling defaults: what fewer steps and a guidance interval cost, and what they save.

    python -m benchmarks.sampling_defaults --out benchmarks/results/sampling_defaults-DATE.json

Every walk starts from the same noise and makes as many images of every class of the mini pack. Beside their worth
(`benchmarks.mini_quality`):

error       median relative L2 distance of the final latents to DDIM's with 250 steps from the same noise
rows        rows of the network that one image took
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.mini_quality import Counted, Judge, Walk, machine, make_latents, relative_error

from limbeck.backbone import open_backbone
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.models import open_models
from limbeck.pack import Pack

REFERENCE = Walk("ddim", 250)
DPM = Walk("dpm++2m", 20)
INTERVALS = ((0.0, 0.8), (0.1, 0.8), (0.2, 0.8), (0.3, 0.9), (0.0, 0.6))
WALKS = (
    REFERENCE,
    *(replace(DPM, num_steps=steps) for steps in (20, 15, 10)),
    *(replace(DPM, interval=interval) for interval in INTERVALS),
    Walk("ddim", 50),
    Walk("ddpm", 50),
    Walk("ddim", 20),
    Walk("ddpm", 250),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every walk; print a table and write every figure as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--per-class", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--only", nargs="+", help="walks whose name contains one of these, and no error to a reference")
    options = parser.parse_args(arguments)
    pack, backend = Pack.open("mini"), OnnxRuntime(threads=options.threads)
    rows, reference = [], None
    with open_models(pack, backend) as models, open_backbone(pack, backend) as backbone:
        judge = Judge(models, backbone)
        print(f"all real: probe {100 * judge.all_real:.1f} %")
        walks = [replace(walk, guidance=options.guidance) for walk in WALKS]
        for walk in (walk for walk in walks if not options.only or any(part in str(walk) for part in options.only)):
            counted = Counted(models.denoiser)
            start = time.perf_counter()
            latents = make_latents(models, counted, walk, per_class=options.per_class, seed=options.seed)
            seconds = time.perf_counter() - start
            if walk == walks[0]:
                reference = latents
            worth = judge.worth(latents)
            error = float("nan") if reference is None else relative_error(latents, reference)
            num_rows = counted.rows / len(latents)
            print(f"{walk!s:<34} {worth}  error {error:.3f}  rows {num_rows:5.1f}  {seconds:5.1f} s", flush=True)
            rows.append(
                asdict(walk)
                | asdict(worth)
                | {"error": None if reference is None else error, "rows": num_rows, "seconds": seconds}
            )
    result = {"all_real": judge.all_real, "per_class": options.per_class, "seed": options.seed, "rows": rows}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result | {"machine": machine()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
