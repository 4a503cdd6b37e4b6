"""Statistical flow matching beside linear gradient matching: time per step, memory, and what a linear probe learns.

    python benchmarks/sfm.py examples/data/sign_digits --pack mini --steps 400 --out benchmarks/results/sfm.json

Each contestant distills in a process of its own, one after another, from the same pack and data at one image a class.
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
from benchmarks.harness.machine import provenance

from limbeck.arrays import Features, Images
from limbeck.backbone import GradientBackbone, open_gradient
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.data.source import open_source
from limbeck.data.stored import StoredSource
from limbeck.linear_head import fit_head
from limbeck.memory.process import PeakMeter, usage
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


def contestants(steps: int, timed_steps: int) -> dict[str, PixelMatching]:
    """By name; those that would take too long are only timed, for `timed_steps`."""
    # the pyramid reaches full resolution two thirds into the run, whatever its length
    extend = max(steps * 2 // 3 // 8, 1)
    whole: dict[str, Any] = {
        "ipc": 1,
        "num_steps": steps,
        "extend_every": extend,
        "learning_rate": 2e-3 * 5000 / steps,
        "checkpoint_every": 10,
    }
    timed: dict[str, Any] = {"ipc": 1, "num_steps": timed_steps, "first_side": 256, "golden_head": False}
    return {
        "sfm": SFM(**whole),
        "lgm, 1 view": LGM(**whole, augs_per_batch=1),
        "sfm, timed": SFM(**timed),
        "lgm, 3 views, timed": LGM(**timed, augs_per_batch=3),
        "lgm, 10 views, timed": LGM(**timed),
    }


def distill(method: PixelMatching, pack: Pack, source: StoredSource, out: Path, threads: int, bucket: int) -> None:
    """Run one contestant in this process; its images, losses and figures go to `out`, checkpoints beside it."""
    kept = out.with_suffix(".checkpoint.npz")
    resume = {0: dict(np.load(kept))} if kept.exists() else NO_STATES
    base = usage().private_nbytes
    seconds, cpu_seconds = [], []
    with open_gradient(pack, OnnxRuntime(threads=threads), bucket=bucket) as backbone, PeakMeter() as meter:
        models = Models(image_size=backbone.image_size, bucket=bucket, engines={}, backbone=backbone)
        wall, cpu, done = time.perf_counter(), time.process_time(), 0
        for event in method.distill(method.units(source), source, models, resume=resume):
            if isinstance(event, Checkpoint):
                np.savez(kept, **event.state)
            if isinstance(event, Progress) and event.stage == "distill" and event.done > done:
                now = time.perf_counter(), time.process_time()
                if done:  # engines are loaded in the first step
                    seconds.append(now[0] - wall)
                    cpu_seconds.append(now[1] - cpu)
                else:
                    meter.restart()
                wall, cpu, done = *now, event.done
                print(f"{method.name} {done} {seconds[-1:]}", file=sys.stderr, flush=True)
            if isinstance(event, DistilledImages):
                figures = {
                    "steps": method.num_steps,
                    "views_per_step": method.augs_per_batch * len(event.images),
                    "seconds_per_step": float(np.median(seconds)),
                    "cpu_seconds_per_step": float(np.median(cpu_seconds)),
                    "peak_private_mib": (meter.peak.private_nbytes - base) / 2**20,
                    "first_loss": float(event.arrays["loss"][:5].mean()),
                    "last_loss": float(event.arrays["loss"][-20:].mean()),
                }
                np.savez(out, images=event.images, loss=event.arrays["loss"], figures=json.dumps(figures))


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
    parser.add_argument("--timed-steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bucket", type=int, default=10)
    parser.add_argument("--only", nargs="*", help="contestants, none for the real images alone; all if not given")
    parser.add_argument("--work", type=Path, required=True, help="where images are kept")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    pack, methods = Pack.open(options.pack), contestants(options.steps, options.timed_steps)
    files = {name: options.work / f"{name.replace(', ', '-').replace(' ', '_')}.npz" for name in methods}
    if options.child:
        # a step costs the same however many real images there are
        source = open_source(options.data / ("test" if "timed" in options.child else "train"))
        distill(methods[options.child], pack, source, files[options.child], options.threads, options.bucket)
        return
    options.work.mkdir(parents=True, exist_ok=True)
    for name in methods if options.only is None else options.only:
        if not files[name].exists():
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--child", name], check=True)
    record = provenance() | {"pack": pack.manifest.name, "threads": options.threads, "contestants": {}}
    sets = {}
    for name, path in files.items():
        if path.exists():
            kept = np.load(path)
            record["contestants"][name] = json.loads(str(kept["figures"]))
            if "timed" not in name:
                sets[name] = kept["images"]
    record["probe_accuracy"] = evaluate(pack, options.data, sets, options.work / "baselines.npz", options.threads)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
