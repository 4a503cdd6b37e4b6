"""Measure the shipped pack by limbeck's own engines and samplers: right digits, distance to photos, effect of words.

    python -m tools.mini_text.pack_quality --backbone efficientnet_lite0.fp16.safetensors

The judge of digits and the distances are those of `tools.mini.quality`. Writes the figures as JSON and two pictures.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tools.mini.classifier import DigitClassifier, fit_classifier, hits
from tools.mini.distances import features, kernel_distance, load_network
from tools.mini.dit import NUM_CLASSES
from tools.mini.images import LabeledImages, read_split
from tools.mini.quality import COMPARED_PER_CLASS
from tools.mini.sample import grid
from tools.mini_text.attributes import NAMES, measure
from tools.mini_text.captions import DIGITS, PROMPT, WORDS
from torch import Tensor

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.samplers import finish, sampler
from limbeck.models import Models, open_models
from limbeck.pack import Pack
from limbeck.randomness import generator

SAMPLER, STEPS = "dpm++2m", 20
GUIDANCE_SCALES = (4.0,)
GUIDANCE = 4.0
"""Of everything that is measured at one scale."""
PER_CLASS = 50
PAIRS_PER_CLASS = 3
SEED = 0

WORDINGS = {
    "the pack's prompt, figure": lambda digit: PROMPT.replace("{name}", str(digit)),
    "the pack's prompt, word": lambda digit: PROMPT.replace("{name}", DIGITS[digit]),
    "figure alone": str,
    "word alone": lambda digit: DIGITS[digit],
    "never trained on, figure": lambda digit: f"someone signs the numeral {digit} with one hand",
    "never trained on, word": lambda digit: f"someone signs the numeral {DIGITS[digit]} with one hand",
}


def images_of(models: Models, prompts: Sequence[str], labels: Tensor, *, guidance: float) -> Tensor:
    """One image a prompt, in [-1, 1]; image `i` of a digit starts from the same noise whatever its prompt."""
    seen = dict.fromkeys(labels.tolist(), 0)
    start = np.empty((len(prompts), *models.latent_shape), np.float32)
    for row, digit in enumerate(labels.tolist()):
        rng = generator(SEED, str(digit), seen[digit], "quality")
        start[row] = rng.standard_normal(models.latent_shape, dtype=np.float32)
        seen[digit] += 1
    walk = sampler(SAMPLER)
    made = walk(
        Guided(models.denoiser, models.conditioning, scale=guidance, num_times=models.schedule.num_times),
        start,
        models.conditioning.of_prompts(list(prompts)),
        schedule=models.schedule,
        times=walk.times(models.schedule, STEPS),
    )
    return torch.from_numpy(models.codec.decode(finish(start, made))) * 2 - 1


def digits(per_class: int) -> Tensor:
    """Labels, `per_class` of each digit in turn."""
    return torch.arange(NUM_CLASSES).repeat_interleave(per_class)


class Measurement:
    """The pack, the judge, and the real photos."""

    def __init__(self, models: Models, train: LabeledImages, test: LabeledImages, backbone: Path) -> None:
        self.models, self.train, self.test = models, train, test
        self.judge: DigitClassifier = fit_classifier(train, seed=SEED)
        self.network = load_network(backbone)
        self.test_features = features(self.network, _balanced(test))

    def right(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """Share of images that the judge reads as their digit, overall and by digit."""
        found = hits(self.judge, images, labels).float()
        by_digit = [round(float(found[labels == digit].mean()), 3) for digit in range(NUM_CLASSES)]
        return {"share": round(float(found.mean()), 4), "by_digit": by_digit}

    def distance(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """KID to test photos, times 1000."""
        chosen = _balanced(LabeledImages(images=images, labels=labels))
        kernel, deviation = kernel_distance(features(self.network, chosen), self.test_features)
        return {"kid_x1000": round(1000 * kernel, 2), "kid_deviation_x1000": round(1000 * deviation, 2)}

    def scales(self) -> tuple[dict[str, Any], Tensor]:
        """Every guidance scale with the pack's prompt; the images of `GUIDANCE` too."""
        labels = digits(PER_CLASS)
        prompts = [PROMPT.replace("{name}", str(digit)) for digit in labels.tolist()]
        figures: dict[str, Any] = {}
        for guidance in GUIDANCE_SCALES:
            images = images_of(self.models, prompts, labels, guidance=guidance)
            figures[str(guidance)] = self.right(images, labels) | self.distance(images, labels)
            print(guidance, figures[str(guidance)], flush=True)
            if guidance == GUIDANCE:
                kept = images
        return figures, kept

    def wordings(self) -> dict[str, Any]:
        """The digit named in several ways."""
        labels = digits(PAIRS_PER_CLASS)
        figures = {}
        for name, wording in WORDINGS.items():
            prompts = [wording(digit) for digit in labels.tolist()]
            figures[name] = self.right(images_of(self.models, prompts, labels, guidance=GUIDANCE), labels)["share"]
            print(name, figures[name], flush=True)
        return figures

    def attributes(self) -> tuple[dict[str, Any], Tensor]:
        """Pairs of images from one noise, one asked to be low in an attribute, one to be high; a row of each side."""
        labels, rows = digits(PAIRS_PER_CLASS), []
        spread = {name: float(values.std()) for name, values in measure(self.train.images).items()}
        figures: dict[str, Any] = {}
        for name in NAMES:
            sides = [
                images_of(self.models, [described(d, name, side) for d in labels.tolist()], labels, guidance=GUIDANCE)
                for side in (0, 1)
            ]
            low, high = (measure(images)[name] for images in sides)
            figures[name] = {
                "low": round(float(low.mean()), 4),
                "high": round(float(high.mean()), 4),
                "difference_in_deviations_of_photos": round(float((high - low).mean()) / spread[name], 2),
                "share_of_pairs_in_order": round(float((high > low).float().mean()), 3),
                "right_digit": [self.right(images, labels)["share"] for images in sides],
            }
            print(name, figures[name], flush=True)
            rows += [images[::PAIRS_PER_CLASS] for images in sides]
        return figures, torch.cat(rows)


def described(digit: int, name: str, side: int) -> str:
    """A caption as in training that names one attribute, 0 for low and 1 for high."""
    word = WORDS[name][side][0]
    if name == "side":
        return f"a photo of a hand showing the digit {digit} {word}"
    picture, hand = (f"a {word} photo", "a hand") if name != "size" else ("a photo", f"a {word} hand")
    return f"{picture} of {hand} showing the digit {digit}"


def _balanced(images: LabeledImages) -> Tensor:
    """The first `COMPARED_PER_CLASS` images of every digit."""
    chosen = [images.images[images.labels == digit][:COMPARED_PER_CLASS] for digit in range(NUM_CLASSES)]
    return torch.cat(chosen)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write figures and pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="mini-text")
    parser.add_argument("--data", type=Path, default=Path("examples/data/sign_digits"))
    parser.add_argument("--backbone", type=Path, required=True, help="EfficientNet-Lite0 as safetensors")
    parser.add_argument("--json", type=Path, default=Path("tools/mini_text/pack_quality.json"))
    parser.add_argument("--pictures", type=Path, default=Path("docs/images/mini-text"))
    options = parser.parse_args(arguments)
    train, test = read_split(options.data / "train"), read_split(options.data / "test")
    options.pictures.mkdir(parents=True, exist_ok=True)
    with open_models(Pack.open(options.pack), OnnxRuntime(), bucket=50) as models:
        measurement = Measurement(models, train, test, options.backbone)
        scales, samples = measurement.scales()
        first = samples.view(NUM_CLASSES, PER_CLASS, *samples.shape[1:])[:, :8].flatten(0, 1)
        grid(first, columns=8).quantize(256).save(options.pictures / "samples.png")
        wordings = measurement.wordings()
        attributes, rows = measurement.attributes()
        grid(rows, columns=NUM_CLASSES).quantize(256).save(options.pictures / "attributes.png")
    figures = {
        "sampler": SAMPLER,
        "steps": STEPS,
        "per_class": PER_CLASS,
        "pairs_per_class": PAIRS_PER_CLASS,
        "seed": SEED,
        "judge_on_test_photos": measurement.right(test.images, test.labels)["share"],
        "guidance": scales,
        "wordings": wordings,
        "attributes": attributes,
    }
    options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
