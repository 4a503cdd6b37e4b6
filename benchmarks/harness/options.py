"""What all benchmark scripts take on the command line, and how they run a contest with it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.harness.contest import Case, Entry, run_contest
from benchmarks.harness.machine import ROOT, num_cores, provenance
from benchmarks.harness.tables import table
from benchmarks.layout import Layout

SEED = 20261121
GEMM = "gemm"
GEMM_SIDE = 2048


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line, parsed.

    Args:
        layout: Where `benchmarks.prepare` put everything.
        threads: Threads of every contestant.
        rounds: Rounds of the main case.
        optimum: The interpreter that has optimum-onnx, if one was named.
    """

    layout: Layout
    threads: int
    rounds: int
    optimum: str | None


def run_script(
    claim: str, contestants: Callable[[Options], tuple[list[Entry], list[Case]]], arguments: Sequence[str] | None = None
) -> None:
    """Parse the command line, run the contest with ceilings in the same run, write JSON, print the table."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder that benchmarks.prepare filled")
    parser.add_argument("--out", type=Path, help="the JSON to write; default benchmarks/results/CLAIM-DATE.json")
    parser.add_argument("--rounds", type=int, default=7, help="timed runs of each contestant")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--threads", type=int, default=num_cores())
    parser.add_argument("--only", nargs="+", help="contestants whose name contains one of these, and the reference")
    parser.add_argument("--optimum-python", help="an interpreter that has optimum-onnx")
    given = parser.parse_args(arguments)
    options = Options(
        layout=Layout(given.work.resolve()),
        threads=given.threads,
        rounds=2 if given.quick else given.rounds,
        optimum=given.optimum_python,
    )
    entries, cases = contestants(options)
    if given.only:
        entries = [e for e in entries if e.kind == "reference" or any(part in e.name for part in given.only)]
    head = {"format": 1, "claim": claim, **provenance()}
    settings = {"threads": options.threads, "rounds": options.rounds, "seed": SEED, "gemm_side": GEMM_SIDE}
    found = run_contest([*entries, *_ceilings(options)], [*cases, _gemm(options)], threads=options.threads)
    result = {**head, "settings": settings, **found}
    out = given.out or ROOT / f"benchmarks/results/{claim}-{datetime.now(UTC):%Y-%m-%d}.json"
    write(out, _without(result, str(options.layout.work)))
    print(f"\n{table(json.loads(out.read_text()))}\nwritten to {out}")


def write(path: Path, result: Any) -> None:
    """JSON, one space of indentation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def _ceilings(options: Options) -> list[Entry]:
    named = [("fp32", "float32"), ("bf16", "bfloat16"), ("int8", "int8")]
    module = "benchmarks.contestants.gemm"
    made = [("torch", "TorchGemm", precision, dtype) for precision, dtype in named] + [
        ("onnxruntime", "OnnxRuntimeGemm", precision, dtype) for precision, dtype in named if precision != "bf16"
    ]
    return [
        Entry(
            name=f"{library} {precision}",
            kind="ceiling",
            target=f"{module}:{target}",
            settings={"dtype": dtype, "threads": options.threads},
            ceiling=precision,
            gib=0.4,
            cases=(GEMM,),
        )
        for library, target, precision, dtype in made
    ]


def _gemm(options: Options) -> Case:
    rng = np.random.default_rng(SEED)
    left, right = (rng.standard_normal((GEMM_SIDE, GEMM_SIDE), dtype=np.float32) for _ in range(2))
    return Case(name=GEMM, feeds={"left": left, "right": right}, rounds=max(options.rounds, 3))


def _without(result: Any, folder: str) -> Any:
    """The result with the work folder's own path taken out: it says nothing about the figures."""
    return json.loads(json.dumps(result).replace(json.dumps(folder)[1:-1], "WORK"))
