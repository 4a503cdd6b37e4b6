"""Where the time of the int8 trunk of DiT-XL/2 goes, by ONNX Runtime's own profiler: what limits it.

    python -m benchmarks.profile --work DIR [--precision int8] [--batch 2]

Profiling costs a few percent; the shares are what counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.harness.machine import ROOT, num_cores, provenance
from benchmarks.harness.options import SEED, write
from benchmarks.harness.tables import table
from benchmarks.layout import Layout
from benchmarks.prepare import example

KINDS: Mapping[str, tuple[str, ...]] = {
    "int8 products": ("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger", "QLinearMatMul"),
    "finding ranges and rounding to 8 bits": ("DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear"),
    "float products": ("MatMul", "Gemm", "FusedMatMul", "Conv", "FusedConv", "FusedGemm"),
    "attention": ("MultiHeadAttention", "Attention", "Softmax"),
    "norms": ("LayerNormalization", "SkipLayerNormalization", "GroupNorm", "InstanceNormalization"),
    "activations": ("Gelu", "FastGelu", "BiasGelu", "QuickGelu", "Sigmoid", "Tanh"),
}
"""Operators as ONNX Runtime names them after its own fusions; what is in no line is elementwise or moves data."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile, write JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--precision", default="int8", help="which pack of the DiT")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=num_cores())
    parser.add_argument("--out", type=Path, help="default benchmarks/results/profile-DATE.json")
    options = parser.parse_args(arguments)
    head = {"format": 1, "claim": "profile", **provenance()}
    events = _profiled(Layout(options.work), options.precision, options.batch, options.runs, options.threads)
    settings = {name: getattr(options, name) for name in ("precision", "batch", "runs", "threads")}
    spent = by_operator(events, options.runs)
    result = {**head, "settings": settings, "milliseconds": spent, "milliseconds_by_kind": by_kind(spent)}
    out = options.out or ROOT / f"benchmarks/results/profile-{datetime.now(UTC):%Y-%m-%d}.json"
    write(out, result)
    print(f"{table(result)}\nwritten to {out}")


def by_operator(events: Iterable[Mapping[str, Any]], runs: int) -> dict[str, float]:
    """Milliseconds of one run in each operator, the largest first; of ONNX Runtime's events, those of kernels."""
    total: dict[str, float] = defaultdict(float)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            total[event["args"]["op_name"]] += event["dur"] / 1e3 / runs
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def by_kind(milliseconds: Mapping[str, float]) -> dict[str, float]:
    """The same by `KINDS`; the rest is one more."""
    kind_of = {operator: kind for kind, operators in KINDS.items() for operator in operators}
    total: dict[str, float] = defaultdict(float)
    for operator, spent in milliseconds.items():
        total[kind_of.get(operator, "elementwise and moving data")] += spent
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def _profiled(layout: Layout, precision: str, batch: int, runs: int, threads: int) -> list[dict[str, Any]]:
    """ONNX Runtime's events of `runs` runs of the trunk, the first run left out."""
    import onnxruntime

    from limbeck.backends.onnxruntime import OnnxRuntime
    from limbeck.engine import compile
    from limbeck.pack import Pack

    pack = Pack.open(layout.pack("dit", precision))
    feeds: dict[str, Any] = dict(example(layout, "dit", batch=batch, seed=SEED))
    with compile(pack.graph("conditioner"), OnnxRuntime(threads=threads)) as conditioner:
        feeds |= conditioner.run({tensor.name: feeds[tensor.name] for tensor in conditioner.spec.inputs})
    trunk = pack.graph("trunk")
    given = {tensor.name: np.asarray(feeds[tensor.name]) for tensor in trunk.spec.inputs}
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(trunk.path), options, providers=["CPUExecutionProvider"])
        session.run(None, given)
        for _ in range(runs):
            session.run(None, given)
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text())
    return _without_first_run(events)


def _without_first_run(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events after the end of the first `model_run`."""
    first = min((e for e in events if e["name"] == "model_run"), key=lambda e: e["ts"])
    end = first["ts"] + first["dur"]
    return [event for event in events if event["ts"] >= end]


if __name__ == "__main__":
    main()
