"""`limbeck distill --budget` under a limit that the operating system enforces: does it hold, and was it foretold?

    python benchmarks/budget.py --pack dit-xl=packs/dit-xl --pack dit-xl-int8=packs/dit-xl-int8 \
        --limit 4GiB --limit 1GiB --out benchmarks/results

For every pack and limit, a new process gets RLIMIT_DATA of just the limit before it imports anything, and distills 8
images (--images; a class each, DDIM in 4 steps with guidance) from photos that this script draws. The JSON says
what was predicted, what was measured inside the process, and how long it took; a refusal is recorded as one.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from limbeck.budget import parse_nbytes
from limbeck.pack import DenoiserInfo, Pack

CLASSES = ("apple", "bicycle", "castle", "dog", "elephant", "flower", "guitar", "harbor")
PHOTOS_PER_CLASS = 2
SETTINGS = ("sampler=ddim", "num_steps=4", "strength=1.0")

# Under RLIMIT_DATA untouched buffers count too, and OpenBLAS takes 32 MiB of them for every thread.
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


def photos(folder: Path, pack: Pack, num_classes: int) -> None:
    """Draw photos of some classes that the pack's denoiser knows."""
    denoiser = pack.manifest.denoiser
    names = (denoiser.classes if isinstance(denoiser, DenoiserInfo) else CLASSES)[:num_classes]
    rng = np.random.default_rng(0)
    for name in names:
        place = folder / name.split(",")[0].strip()
        place.mkdir(parents=True)
        for index in range(PHOTOS_PER_CLASS):
            pixels = rng.integers(0, 255, (12, 16, 3), np.uint8)
            Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC).save(place / f"{index}.jpg")


def run(pack: str, data: Path, limit: str, out: Path) -> dict[str, Any]:
    """One `limbeck distill` in a process of its own under `limit`."""
    nbytes = parse_nbytes(limit)

    def refuse_more() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (nbytes, nbytes))

    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    command = [sys.executable, "-m", "limbeck_server.cli", "distill", "--pack", pack, "--data", str(data)]
    command += ["--out", str(out), "--budget", limit, "--json", *settings]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, preexec_fn=refuse_more, check=False)
    seconds = time.perf_counter() - start
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    last = events[-1] if events else {}
    found: dict[str, Any] = {"limit_nbytes": nbytes, "exit_code": done.returncode, "seconds": round(seconds, 1)}
    if done.returncode != 0:
        return {**found, "error": last.get("message") or done.stderr[-2000:]}
    stages: dict[str, int] = {}
    for event in events:
        if event["event"] == "progress":
            stages[event["stage"]] = event["total"]
    return {**found, **last["memory"], "steps": stages, "images": last["images"]}


def main() -> None:
    """Run every pack under every limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--limit", action="append", required=True)
    parser.add_argument("--images", type=int, default=8, choices=range(1, 9), metavar="1..8", help="a class each")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the JSON")
    arguments = parser.parse_args()
    runs = []
    for given in arguments.pack:
        name, _, folder = given.partition("=")
        with tempfile.TemporaryDirectory() as scratch:
            data = Path(scratch) / "photos"
            photos(data, Pack.open(folder), arguments.images)
            for limit in arguments.limit:
                found = {"pack": name, **run(folder, data, limit, Path(scratch) / f"out-{limit}")}
                runs.append(found)
                print(json.dumps(found), flush=True)
    today = datetime.date.today().isoformat()
    machine = {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "memory_nbytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    written = {"date": today, "machine": machine, "settings": SETTINGS, "runs": runs}
    path = arguments.out / f"budget-{'-'.join(one.partition('=')[0] for one in arguments.pack)}-{today}.json"
    path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
