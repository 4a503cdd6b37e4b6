"""D3HR on real photos: is a group that fits its class exactly better than the best of many draws?

    python -m benchmarks.d3hr_groups --out benchmarks/results/d3hr_groups-DATE.json

Every arm carries groups of the same inverted latents down, on the `mini` pack:

draw        one group as it is drawn (best of 1)
best        the nearest of `--groups` groups, by the paper's distance
exact       one group, shifted and scaled to the class's mean and spread
probe       accuracy, on the photos that were held out, of a classifier trained on the images

The training split of Sign Language Digits is cut in photo order: the first four fifths are inverted, the last fifth is
held out. The test split is not touched.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from benchmarks.demo_settings import ROOT, features_of, parts
from benchmarks.mini_quality import machine

from limbeck.arrays import Latents
from limbeck.backbone import open_backbone
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.data.base import ImageSource
from limbeck.evaluate.probe import extract, linear_probe, random_subsets
from limbeck.methods.base import DistilledImages, Progress
from limbeck.methods.d3hr import D3HR
from limbeck.models import Models, open_models
from limbeck.pack import Pack


@dataclass(frozen=True, kw_only=True)
class _InvertedOnce(D3HR):
    """D3HR that carries a class up once, whatever is then drawn from it."""

    remembered: dict[int, list[Latents]] = field(default_factory=dict)

    def inverted(self, class_id: int, source: ImageSource, models: Models) -> Iterator[Latents | Progress]:
        if class_id not in self.remembered:
            made = super().inverted(class_id, source, models)
            self.remembered[class_id] = [part for part in made if not isinstance(part, Progress)]
            print(f"  {source.class_names[class_id]} inverted", flush=True)
        yield from self.remembered[class_id]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every arm; print a table and write every figure as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "examples/data/sign_digits/train")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--num-steps", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    pack, backend, rows = Pack.open("mini"), OnnxRuntime(), []
    with (
        tempfile.TemporaryDirectory() as folder,
        open_models(pack, backend) as models,
        open_backbone(pack, backend) as backbone,
    ):
        fit, validation = parts(options.data, Path(folder))
        real, held_out = extract(fit, backbone), extract(validation, backbone)
        print(f"all real ({len(real.labels)} images): {100 * linear_probe(real, held_out):.1f} %")
        base = _InvertedOnce(ipc=1, num_steps=options.num_steps)
        for ipc in options.ipc:
            random = [linear_probe(part, held_out) for part in random_subsets(real, ipc=ipc, seeds=range(10))]
            rows.append({"ipc": ipc, "arm": "random real", "probe": random, "seconds": 0.0})
            print(_line(rows[-1]), flush=True)
            for arm, settings in {
                "draw": {"num_groups": 1},
                "best": {"num_groups": options.groups},
                "exact": {"select": "exact"},
            }.items():
                start = time.perf_counter()
                made = [
                    _made(replace(base, ipc=ipc, seed=seed, **settings), fit, models) for seed in range(options.seeds)
                ]
                seconds = (time.perf_counter() - start) / options.seeds
                probe = [linear_probe(features_of(one, backbone), held_out) for one in made]
                rows.append({"ipc": ipc, "arm": arm, "probe": probe, "seconds": seconds})
                print(_line(rows[-1]), flush=True)
    result = {"groups": options.groups, "num_steps": options.num_steps, "rows": rows, "machine": machine()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


def _made(method: D3HR, source: ImageSource, models: Models) -> list[DistilledImages]:
    made = method.distill(method.units(source), source, models)
    return [event for event in made if isinstance(event, DistilledImages)]


def _line(row: dict[str, object]) -> str:
    probe = 100 * np.asarray(row["probe"])
    worth = f"{probe.mean():5.1f} ± {probe.std(ddof=1):.1f} %"
    return f"ipc {row['ipc']:>2}  {row['arm']:<12} {worth}  {row['seconds']:.1f} s a seed"


if __name__ == "__main__":
    main()
