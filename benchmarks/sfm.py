"""Statistical flow matching beside linear gradient matching: time per step, memory, and what a linear probe learns.

    python benchmarks/sfm.py examples/data/sign_digits --steps 400 --work W --out benchmarks/results/sfm.json

Each contestant distills in a process of its own, one after another, from the same pack and the training split, at one
image a class. Those that are timed run `--timed-steps` at full resolution: the record has a step's time, how long
`PUBLISHED_STEPS` would take, the wall time of the run that was made, and its peak memory; `--only-timed` stops there.
Then a linear probe is trained on views of each distilled set (random crops and mirrors, as in LGM's protocol), and
on views of random real images, of the real image nearest to its class's mean feature, and on all real images; all are
tested on the test images as they are. The paper claims that SFM is 4 times faster than LGM and takes a tenth of memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.harness.figures import spread
from benchmarks.harness.machine import provenance
from benchmarks.harness.tables import table

from limbeck.arrays import Features, Images
from limbeck.backbone import GradientBackbone, open_gradient
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.data.source import open_source
from limbeck.data.stored import StoredSource
from limbeck.linear_head import fit_head
from limbeck.memory.process import PeakMeter, peak_resident_nbytes, usage
from limbeck.methods.base import NO_STATES, Checkpoint, DistilledImages, Progress
from limbeck.methods.lgm import LGM
from limbeck.methods.sfm import SFM
from limbeck.methods.shared.pixels import PixelMatching
from limbeck.models import Models
from limbeck.pack import Pack
from limbeck.randomness import generator
from limbeck_kernels.augment import central_crop, crops, random_crop

VIEWS = 20
RANDOM_SETS = 3
PUBLISHED_STEPS = 5000
TIMED = ", timed"
"""Ends the name of a contestant that is timed only."""


def contestants(steps: int, timed_steps: int) -> dict[str, PixelMatching]:
    """By name; those that would take too long are only timed, for `timed_steps`."""
    # the pyramid reaches full resolution two thirds into the run, whatever its length
    extend = max(steps * 2 // 3 // 8, 1)
    whole: dict[str, Any] = {
        "ipc": 1,
        "num_steps": steps,
        "extend_every": extend,
        "learning_rate": 2e-3 * PUBLISHED_STEPS / steps,
        "checkpoint_every": 10,
    }
    timed: dict[str, Any] = {"ipc": 1, "num_steps": timed_steps, "first_side": 256, "golden_head": False}
    return {
        "sfm": SFM(**whole),
        "lgm, 1 view": LGM(**whole, augs_per_batch=1),
        f"sfm{TIMED}": SFM(**timed),
        f"lgm, 3 views{TIMED}": LGM(**timed, augs_per_batch=3),
        f"lgm, 10 views{TIMED}": LGM(**timed),
    }


def distill(method: PixelMatching, pack: Pack, source: StoredSource, out: Path, threads: int, bucket: int) -> None:
    """Run one contestant in this process; its images, losses and figures go to `out`, checkpoints beside it."""
    kept = out.with_suffix(".checkpoint.npz")
    resume = {0: dict(np.load(kept))} if kept.exists() else NO_STATES
    base = usage().private_nbytes
    begun, walls, cpus, before_steps = time.perf_counter(), [], [], 0
    with open_gradient(pack, OnnxRuntime(threads=threads), bucket=bucket) as backbone, PeakMeter() as meter:
        models = Models(image_size=backbone.image_size, bucket=bucket, engines={}, backbone=backbone)
        done = 0
        for event in method.distill(method.units(source), source, models, resume=resume):
            if isinstance(event, Checkpoint):
                np.savez(kept, **event.state)
            if isinstance(event, Progress) and event.stage == "distill" and event.done > done:
                if not done:
                    before_steps = meter.peak.private_nbytes
                    meter.restart()
                walls.append(time.perf_counter())
                cpus.append(time.process_time())
                done = event.done
                print(f"{method.name} {done} {np.diff(walls[-2:])}", file=sys.stderr, flush=True)
            if isinstance(event, DistilledImages):
                peak = meter.peak.private_nbytes
                figures = times(walls, cpus, begun=begun, ended=time.perf_counter()) | {
                    "resumed": bool(resume),
                    "steps": method.num_steps,
                    "views_per_step": method.augs_per_batch * len(event.images),
                    "real_images": sum(len(source.names(class_id)) for class_id in range(len(source.class_names))),
                    "peak_private_mib": (peak - base) / 2**20,
                    "peak_private_mib_whole_run": (max(peak, before_steps) - base) / 2**20,
                    "peak_resident_mib_whole_run": peak_resident_nbytes() / 2**20,
                    "first_loss": float(event.arrays["loss"][:5].mean()),
                    "last_loss": float(event.arrays["loss"][-20:].mean()),
                }
                np.savez(out, images=event.images, loss=event.arrays["loss"], figures=json.dumps(figures))


def times(walls: list[float], cpus: list[float], *, begun: float, ended: float) -> dict[str, float]:
    """Seconds of a step and of a whole run, from the clocks at the end of each step that this process made.

    What comes before the first step and the step itself, in which engines are loaded, are one figure: the methods
    differ in when they read the real images. A run of `PUBLISHED_STEPS` is that figure and the steps that remain at the
    median; what follows the last step, writing the images, is in the measured run only.
    """
    seconds = spread(np.diff(walls).tolist())
    to_first = walls[0] - begun
    return {
        "seconds_per_step": seconds.median,
        "seconds_per_step_lower": seconds.lower,
        "seconds_per_step_upper": seconds.upper,
        "cpu_seconds_per_step": float(np.median(np.diff(cpus))),
        "seconds_to_first_step": to_first,
        "seconds_of_published_steps": to_first + (PUBLISHED_STEPS - 1) * seconds.median,
        "seconds_of_this_run": ended - begun,
    }


def probe(backbone: GradientBackbone, train: Images, test: tuple[Features, Any]) -> float:
    """Test accuracy of a classifier of `VIEWS` views of one image a class."""
    views = []
    for view in range(VIEWS):
        rngs = [generator(0, "", index, f"view {view}") for index in range(len(train))]
        parts = [random_crop(rng, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)) for rng in rngs]
        views.append(backbone.features(crops(train, parts, backbone.image_size)))
    labels = np.tile(np.arange(len(train)), VIEWS)
    return fit_head(np.concatenate(views), labels).accuracy(*test)


def features_of(backbone: GradientBackbone, source: StoredSource) -> tuple[Features, Any]:
    """The middle of every image."""
    features, labels = [], []
    for class_id in range(len(source.class_names)):
        for images in source.images(class_id, size=256, fit="crop", batch=backbone.bucket):
            features.append(backbone.features(crops(images, [central_crop(0.875)] * len(images), backbone.image_size)))
            labels += [class_id] * len(images)
    return np.concatenate(features), np.array(labels)


def one_each(source: StoredSource, positions: list[int]) -> Images:
    """The image at one position of each class."""
    return np.stack(
        [
            next(
                images[0]
                for place, images in enumerate(source.images(class_id, size=256, fit="crop", batch=1))
                if place == position
            )
            for class_id, position in enumerate(positions)
        ]
    )


def baselines(pack: Pack, data: Path, kept: Path, threads: int) -> dict[str, Any]:
    """Probe accuracy of what real images teach; they and the test features are kept in `kept` for the next call."""
    if not kept.exists():
        train, test = open_source(data / "train"), open_source(data / "test")
        with open_gradient(pack, OnnxRuntime(threads=threads), bucket=10) as backbone:
            known, held_out = features_of(backbone, train), features_of(backbone, test)
            found: dict[str, Any] = {"all real": fit_head(*known).accuracy(*held_out)}
            nearest, drawn = [], []
            for class_id in range(len(train.class_names)):
                of_class = known[0][known[1] == class_id]
                nearest.append(int(np.linalg.norm(of_class - of_class.mean(0), axis=1).argmin()))
                drawn.append(np.random.default_rng(class_id).permutation(len(of_class))[:RANDOM_SETS])
            found["nearest to the class mean"] = probe(backbone, one_each(train, nearest), held_out)
            found["random real"] = [
                probe(backbone, one_each(train, [int(places[number]) for places in drawn]), held_out)
                for number in range(RANDOM_SETS)
            ]
        np.savez(kept, features=held_out[0], labels=held_out[1], accuracies=json.dumps(found))
    result: dict[str, Any] = json.loads(str(np.load(kept)["accuracies"]))
    return result


def evaluate(pack: Pack, data: Path, sets: dict[str, Images], kept: Path, threads: int) -> dict[str, Any]:
    """Probe accuracy by what it was trained on."""
    found = baselines(pack, data, kept, threads)
    held_out = np.load(kept)["features"], np.load(kept)["labels"]
    with open_gradient(pack, OnnxRuntime(threads=threads), bucket=10) as backbone:
        return found | {name: probe(backbone, images, held_out) for name, images in sets.items()}


def main() -> None:
    """Run all contestants and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder with train and test")
    parser.add_argument("--pack", default="mini")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--timed-steps", type=int, default=4, help="of each that is timed, at least 2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bucket", type=int, default=10)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", nargs="*", help="contestants, none for the real images alone; all if not given")
    which.add_argument("--only-timed", action="store_true", help="those that are timed, and no probe")
    parser.add_argument("--work", type=Path, required=True, help="where images are kept")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    pack, methods = Pack.open(options.pack), contestants(options.steps, options.timed_steps)
    files = {name: options.work / f"{name.replace(', ', '-').replace(' ', '_')}.npz" for name in methods}
    if options.child:
        source = open_source(options.data / "train")
        distill(methods[options.child], pack, source, files[options.child], options.threads, options.bucket)
        return
    options.work.mkdir(parents=True, exist_ok=True)
    settings = {"pack": pack.manifest.name, "threads": options.threads, "bucket": options.bucket, "ipc": 1}
    record = {"claim": "sfm"} | provenance() | {"settings": settings, "contestants": {}}
    chosen = list(methods) if options.only is None else options.only
    for name in [name for name in chosen if name.endswith(TIMED)] if options.only_timed else chosen:
        if not files[name].exists():
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--child", name], check=True)
    sets = {}
    for name, path in files.items():
        if path.exists():
            kept = np.load(path)
            record["contestants"][name] = json.loads(str(kept["figures"]))
            if not name.endswith(TIMED):
                sets[name] = kept["images"]
    if not options.only_timed:
        record["probe_accuracy"] = evaluate(pack, options.data, sets, options.work / "baselines.npz", options.threads)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))


if __name__ == "__main__":
    main()
