"""Build one TensorRT-RTX engine ahead of time and print what it cost; a process of its own, for its peak memory.

python -m benchmarks.gpu.build_engine --pack DIR --role trunk --target SM86 --batch 2
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.worker import memory_nbytes

from limbeck.backends.tensorrt import TensorRtRtx
from limbeck.pack import Pack


def main(arguments: Sequence[str] | None = None) -> None:
    """Build; the engine itself is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--role", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--size", nargs="*", default=[], metavar="NAME=N", help="sizes of further symbolic dimensions")
    options = parser.parse_args(arguments)
    graph = Pack.open(options.pack).graph(options.role)
    sizes = {"batch": options.batch, **{name: int(size) for name, _, size in (s.partition("=") for s in options.size)}}
    symbolic = {size for tensor in graph.spec.inputs for size in tensor.shape if isinstance(size, str)}
    backend = TensorRtRtx(targets=(options.target,), profiles=({name: sizes[name] for name in symbolic},))
    start = time.perf_counter()
    built = backend.build(graph)
    seconds = time.perf_counter() - start
    print(
        json.dumps({"build_seconds": seconds, "engine_nbytes": len(built), "process_nbytes": memory_nbytes()["peak"]})
    )


if __name__ == "__main__":
    main()
