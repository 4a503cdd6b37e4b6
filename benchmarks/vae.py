"""The decoder of Stable Diffusion's autoencoder: one latent of side 32 to one image of 256 by 256.

python -m benchmarks.vae --work DIR
"""

from __future__ import annotations

from benchmarks.contestants.usual import limbeck_entry, usual_peers
from benchmarks.harness.contest import Case, Entry
from benchmarks.harness.options import SEED, Options, run_script
from benchmarks.prepare import example

ONE = "batch 1"


def contestants(options: Options) -> tuple[list[Entry], list[Case]]:
    """Everyone, and the one case."""
    cases = [Case(name=ONE, feeds=example(options.layout, "vae", batch=1, seed=SEED), rounds=options.rounds)]
    decoder = {"pack": str(options.layout.pack("dit", "fp32")), "role": "decoder"}
    bf16 = {**decoder, "backend": "openvino bf16"}
    return [
        *usual_peers(options, "vae", cases=(ONE,), convolutional=True),
        limbeck_entry(options, "fp32", "GraphOfPack", cases=(ONE,), ceiling="fp32", gib=1.5, **decoder),
        limbeck_entry(options, "OpenVINO bf16", "GraphOfPack", cases=(ONE,), ceiling="bf16", gib=1.5, **bf16),
    ], cases


if __name__ == "__main__":
    run_script("vae", contestants)
