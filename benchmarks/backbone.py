"""Features of eight images in DINOv2's ViT-B/14 at 224 pixels.

python -m benchmarks.backbone --work DIR
"""

from __future__ import annotations

from benchmarks.contestants.usual import limbeck_entry, usual_peers
from benchmarks.harness.contest import Case, Entry
from benchmarks.harness.options import SEED, Options, run_script
from benchmarks.prepare import example

EIGHT = "batch 8"


def contestants(options: Options) -> tuple[list[Entry], list[Case]]:
    """Everyone, and the one case."""
    cases = [Case(name=EIGHT, feeds=example(options.layout, "backbone", batch=8, seed=SEED), rounds=options.rounds)]
    fp32, int8 = (
        {"pack": str(options.layout.pack("backbone", precision)), "role": "backbone"} for precision in ("fp32", "int8")
    )
    bf16 = {**fp32, "backend": "openvino bf16"}
    return [
        *usual_peers(options, "backbone", cases=(EIGHT,)),
        limbeck_entry(options, "fp32", "GraphOfPack", cases=(EIGHT,), ceiling="fp32", gib=1.2, **fp32),
        limbeck_entry(options, "int8", "GraphOfPack", cases=(EIGHT,), ceiling="int8", gib=0.8, **int8),
        limbeck_entry(options, "OpenVINO bf16", "GraphOfPack", cases=(EIGHT,), ceiling="bf16", gib=1.2, **bf16),
    ], cases


if __name__ == "__main__":
    run_script("backbone", contestants)
