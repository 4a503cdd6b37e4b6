"""Choose the demo's settings: D4M on a part of the training split, measured on the rest of it, never on the test split.

    python -m benchmarks.demo_settings --out benchmarks/results/demo_settings-DATE.json

The training split is cut in photo order (neighboring photos show the same hand): the first four fifths are distilled
and give the random real images, the last fifth is the validation part. The classifier is the demo's.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tools.mini.split import fit_and_validation, photos

from limbeck.arrays import Images, Latents
from limbeck.backbone import PackBackbone, open_backbone
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.data.base import ImageSource
from limbeck.data.source import open_source
from limbeck.diffusion.base import LatentCodec
from limbeck.evaluate.probe import FeatureSet, extract, linear_probe, random_subsets
from limbeck.methods.base import DistilledImages
from limbeck.methods.d4m import D4M
from limbeck.models import open_models
from limbeck.pack import Pack

ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Sweep ipc, sampler, strength and guidance; print a table and write every figure as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "examples/data/sign_digits/train")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--strength", type=float, nargs="+", default=[0.0, 0.3, 0.5, 0.7, 0.9])
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--sampler", nargs="+", default=["dpm++2m:20", "ddpm:50"], help="NAME:STEPS")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    pack, backend = Pack.open("mini"), OnnxRuntime()
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        open_models(pack, backend) as models,
        open_backbone(pack, backend) as backbone,
    ):
        fit, validation = parts(options.data, Path(folder))
        models = dataclasses.replace(models, codec=_Remembering(models.codec))
        real, held_out = extract(fit, backbone), extract(validation, backbone)
        everything = linear_probe(real, held_out)
        print(f"all real ({len(real.labels)} images): {100 * everything:.1f} %")
        for ipc in options.ipc:
            random = [linear_probe(part, held_out) for part in random_subsets(real, ipc=ipc, seeds=range(10))]
            print(f"ipc {ipc:2}  random real: {_figures(random)}")
            rows.append({"ipc": ipc, "random_real": random})
            for walk, strength, guidance in itertools.product(options.sampler, options.strength, options.guidance):
                sampler, _, steps = walk.partition(":")
                start = time.perf_counter()
                scores = []
                for seed in range(options.seeds):
                    method = D4M(
                        ipc=ipc,
                        seed=seed,
                        strength=strength,
                        guidance_scale=guidance,
                        sampler=sampler,
                        num_steps=int(steps),
                    )
                    made = [e for e in method.distill(method.units(fit), fit, models) if isinstance(e, DistilledImages)]
                    scores.append(linear_probe(features_of(made, backbone), held_out))
                seconds = (time.perf_counter() - start) / options.seeds
                setting = f"ipc {ipc:2}  {walk:<10}  strength {strength:.1f}  guidance {guidance:.1f}"
                print(f"{setting}: {_figures(scores)}  {seconds:.1f} s", flush=True)
                rows.append(
                    {"ipc": ipc, "sampler": walk, "strength": strength, "guidance": guidance, "distilled": scores}
                )
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
    result = {"all_real": everything, "rows": rows, "machine": machine}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


def parts(data: Path, folder: Path) -> tuple[ImageSource, ImageSource]:
    """The training split as two ImageFolders of links, cut in photo order."""
    files = photos(data)
    for name, rows in zip(("fit", "validation"), fit_and_validation(len(files)), strict=True):
        for photo in files[rows.start : rows.stop]:
            link = folder / name / photo.parent.name / photo.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(photo.resolve())
    return open_source(folder / "fit"), open_source(folder / "validation")


def features_of(made: Sequence[DistilledImages], backbone: PackBackbone) -> FeatureSet:
    """Features of images as they would be read back from a distilled set: 8 bits, scaled to the backbone's size."""
    from PIL import Image

    size = (backbone.image_size, backbone.image_size)

    def scaled() -> Iterator[np.ndarray]:
        for image in itertools.chain.from_iterable(event.images for event in made):
            bytes_ = (image.transpose(1, 2, 0) * 255).round().astype(np.uint8)
            yield np.asarray(Image.fromarray(bytes_).resize(size, Image.Resampling.LANCZOS))

    pixels = np.stack(list(scaled())).transpose(0, 3, 1, 2).astype(np.float32) / 255
    labels = np.concatenate([event.class_ids for event in made]).astype(np.int64)
    return FeatureSet(backbone.features(pixels), labels)


class _Remembering:
    """A codec that encodes each batch of images once."""

    def __init__(self, codec: LatentCodec) -> None:
        self._codec = codec
        self._seen: dict[bytes, Latents] = {}

    def encode(self, images: Images) -> Latents:
        key = images.tobytes()
        if key not in self._seen:
            self._seen[key] = self._codec.encode(images)
        return self._seen[key]

    def posterior(self, images: Images) -> tuple[Latents, Latents]:
        return self._codec.posterior(images)

    def decode(self, latents: Latents) -> Images:
        return self._codec.decode(latents)


def _figures(scores: Sequence[float]) -> str:
    return f"{100 * np.mean(scores):.1f} ± {100 * np.std(scores, ddof=1) if len(scores) > 1 else 0:.1f} %"


if __name__ == "__main__":
    main()
