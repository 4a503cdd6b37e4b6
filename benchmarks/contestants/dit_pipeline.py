"""`DiTPipeline` as its documentation says: one image of each of the first classes, as PNG files.

python -m benchmarks.contestants.dit_pipeline --source DIR --out DIR --images 8 --steps 4 --dtype bfloat16
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from benchmarks.networks import make_torchvision_importable


def main(arguments: Sequence[str] | None = None) -> None:
    """Load, generate, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    make_torchvision_importable()
    from diffusers import DiTPipeline

    pipeline = DiTPipeline.from_pretrained(options.source, torch_dtype=getattr(torch, options.dtype))
    pipeline.set_progress_bar_config(disable=True)
    if options.compiled:
        pipeline.transformer = torch.compile(pipeline.transformer)
    images = pipeline(
        class_labels=list(range(options.images)),
        guidance_scale=options.guidance,
        num_inference_steps=options.steps,
        generator=torch.manual_seed(0),
    ).images
    options.out.mkdir(parents=True)
    for number, image in enumerate(images):
        image.save(options.out / f"{number}.png")


if __name__ == "__main__":
    main()
