"""Ask the shipped pack itself for digits, by limbeck's own engines and samplers; the judge of `quality` reads them.

    python -m tools.mini.pack_quality

`quality` measures the network in torch, before it is exported. This measures what users run. Prints and writes the
share of images that the judge reads as the digit that was asked for.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tools.mini.classifier import DigitClassifier, fit_classifier, hits
from tools.mini.folder import DIGITS
from tools.mini.images import read_split

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.samplers import SamplerName, finish, sampler
from limbeck.models import Models, open_models
from limbeck.pack import Pack

WALKS: tuple[tuple[SamplerName, int], ...] = (("dpm++2m", 20), ("ddpm", 50))
GUIDANCE_SCALES = (4.0, 6.0)
PER_CLASS = 50
SEED = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every sampler at every scale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="mini")
    parser.add_argument("--data", type=Path, default=Path("examples/data/sign_digits"))
    parser.add_argument("--json", type=Path, default=Path("tools/mini/pack_quality.json"))
    options = parser.parse_args(arguments)
    judge = fit_classifier(read_split(options.data / "train"), seed=SEED)
    found = agreement(judge, options.pack, DIGITS)
    options.json.write_text(json.dumps(found, indent=1) + "\n")


def agreement(
    judge: DigitClassifier,
    pack: str,
    class_names: Sequence[str],
    *,
    walks: Sequence[tuple[SamplerName, int]] = WALKS,
    scales: Sequence[float] = GUIDANCE_SCALES,
) -> dict[str, Any]:
    """For every sampler and scale, the share of images that `judge` reads as the class that was asked for.

    Args:
        judge: Trained on real images.
        pack: Its name or folder.
        class_names: In the order of the judge's class ids.
        walks: Samplers, with their steps.
        scales: Of guidance.
    """
    rows = []
    with open_models(Pack.open(pack), OnnxRuntime(), bucket=50) as models:
        for name, steps in walks:
            for scale in scales:
                right = torch.cat(
                    [
                        hits(judge, _drawn(models, name, steps, scale, class_id, called), torch.tensor(class_id))
                        for class_id, called in enumerate(class_names)
                    ]
                )
                row = {"sampler": name, "steps": steps, "guidance": scale, "share": right.float().mean().item()}
                print(row, flush=True)
                rows.append(row)
    return {"per_class": PER_CLASS, "seed": SEED, "rows": rows}


def _drawn(models: Models, name: SamplerName, steps: int, scale: float, class_id: int, called: str) -> torch.Tensor:
    """`PER_CLASS` images of a class, in [-1, 1]; its id begins the random stream."""
    rng = np.random.default_rng([SEED, class_id])
    shape = (PER_CLASS, *models.latent_shape)
    start = rng.standard_normal(shape, dtype=np.float32)
    walk = sampler(name)
    steps_made = walk(
        Guided(models.denoiser, models.conditioning, scale=scale, num_times=models.schedule.num_times),
        start,
        models.conditioning.of_classes([called] * PER_CLASS),
        schedule=models.schedule,
        times=walk.times(models.schedule, steps),
        noise=lambda step: rng.standard_normal(shape, dtype=np.float32),
    )
    return torch.from_numpy(models.codec.decode(finish(start, steps_made))) * 2 - 1


if __name__ == "__main__":
    main()
