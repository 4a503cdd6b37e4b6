"""Stable Diffusion 1.5's UNet at 512 pixels (latents of side 64), one denoising pass of one latent.

    python -m benchmarks.unet --work DIR --optimum-python VENV/bin/python

Peers compute the keys and values of the text in every call. limbeck computes them once a prompt; the rows "conditioner
in every call" hold nothing back. DDPS and D4M ask for single latents and guided pairs alike; time grows linearly.
"""

from __future__ import annotations

from benchmarks.contestants.usual import limbeck_entry, usual_peers
from benchmarks.harness.contest import Case, Entry
from benchmarks.harness.options import SEED, Options, run_script
from benchmarks.prepare import example

ONE = "batch 1"


def contestants(options: Options) -> tuple[list[Entry], list[Case]]:
    """Everyone, and the one case."""
    cases = [Case(name=ONE, feeds=example(options.layout, "unet", batch=1, seed=SEED), rounds=options.rounds)]
    return [
        *usual_peers(options, "unet", cases=(ONE,), convolutional=True),
        Entry(
            name="optimum-onnx",
            kind="peer",
            target="benchmarks.contestants.optimum_unet:OptimumUnet",
            settings={"folder": str(options.layout.optimum), "threads": options.threads},
            ceiling="fp32",
            gib=6,
            cases=(ONE,),
            python=options.optimum,
        ),
        *_limbeck(options),
    ], cases


def _limbeck(options: Options) -> list[Entry]:
    fp32, int8 = ({"pack": str(options.layout.pack("sd", precision))} for precision in ("fp32", "int8"))
    bf16 = {**fp32, "backend": "openvino bf16"}
    every = {**int8, "conditioner": "every call"}
    return [
        limbeck_entry(options, "fp32", "CutPack", cases=(ONE,), ceiling="fp32", gib=4, **fp32),
        limbeck_entry(options, "OpenVINO bf16", "CutPack", cases=(ONE,), ceiling="bf16", gib=6, **bf16),
        limbeck_entry(options, "int8", "CutPack", cases=(ONE,), ceiling="int8", gib=2, **int8),
        limbeck_entry(
            options, "int8, conditioner in every call", "CutPack", cases=(ONE,), ceiling="int8", gib=2, **every
        ),
    ]


if __name__ == "__main__":
    run_script("unet", contestants)
