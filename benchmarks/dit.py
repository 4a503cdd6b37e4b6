"""DiT-XL/2-256, one denoising pass: a guided pair (batch 2) and eight of them (batch 16).

    python -m benchmarks.dit --work DIR

Peers run the whole network. limbeck's is cut: the conditioner's result depends on (timestep, class) alone and is kept
in a table; the rows "conditioner in every call" hold nothing back.
"""

from __future__ import annotations

from benchmarks.contestants.usual import limbeck_entry, usual_peers
from benchmarks.harness.contest import Case, Entry
from benchmarks.harness.options import SEED, Options, run_script
from benchmarks.prepare import example

PAIR, EIGHT = "batch 2", "batch 16"


def contestants(options: Options) -> tuple[list[Entry], list[Case]]:
    """Everyone, and the two cases; batch 16 is left to the strongest of each kind, and to fewer rounds."""
    pair = example(options.layout, "dit", batch=2, seed=SEED)
    eight = example(options.layout, "dit", batch=16, seed=SEED)
    cases = [
        Case(name=PAIR, feeds=pair, rounds=options.rounds),
        Case(name=EIGHT, feeds=eight, rounds=max(1, options.rounds // 3), warmups=0),
    ]
    peers = usual_peers(options, "dit", cases=(PAIR,), strongest=(EIGHT,), channels=4)
    return [*peers, *_limbeck(options)], cases


def _limbeck(options: Options) -> list[Entry]:
    fp32, int8, auto = (str(options.layout.pack("dit", precision)) for precision in ("fp32", "int8", "auto"))
    both = (PAIR, EIGHT)
    bf16 = {"backend": "openvino bf16"}
    every = {"conditioner": "every call"}
    return [
        limbeck_entry(options, "fp32", "CutPack", cases=(PAIR,), ceiling="fp32", gib=2.2, pack=fp32),
        limbeck_entry(options, "OpenVINO bf16", "CutPack", cases=(PAIR,), ceiling="bf16", gib=3.2, pack=fp32, **bf16),
        limbeck_entry(options, "build's choice", "CutPack", cases=both, ceiling="int8", gib=1.5, pack=auto),
        limbeck_entry(options, "int8", "CutPack", cases=both, ceiling="int8", gib=1.2, pack=int8),
        limbeck_entry(
            options,
            "int8, conditioner in every call",
            "CutPack",
            cases=both,
            ceiling="int8",
            gib=1.5,
            pack=int8,
            **every,
        ),
    ]


if __name__ == "__main__":
    run_script("dit", contestants)
