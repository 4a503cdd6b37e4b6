"""Measure a trained model folder: right class, distance to real photos, and whether it copies its training images.

    PYTHONPATH=engine python -m tools.mini.quality FOLDER --backbone efficientnet_lite0.fp16.safetensors

Weights are rounded to float16 first, as the pack stores them. Writes the figures as JSON and two pictures.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tools.mini.classifier import DigitClassifier, fit_classifier, hits
from tools.mini.codec import decode, encode
from tools.mini.distances import PrincipalFrechet, features, kernel_distance, load_network, nearest, spread
from tools.mini.dit import NUM_CLASSES
from tools.mini.folder import ModelFolder
from tools.mini.images import LabeledImages, moved, read_split
from tools.mini.sample import draw, grid
from torch import Tensor

GUIDANCE_SCALES = (1.0, 1.5, 2.0, 3.0, 4.0)
DDIM_STEPS = 30
GENERATED_PER_CLASS = 50
# Every distance compares sets of this many images a class: the test split has no more of every class.
COMPARED_PER_CLASS = 41
# The pictures use the smallest guidance at which the classifier agrees this often.
WANTED_AGREEMENT = 0.95
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A set of images with what is computed from them once.

    Args:
        images: In [-1, 1].
        labels: Class ids.
        features: EfficientNet-Lite0's, shape (count, 1280).
    """

    images: Tensor
    labels: Tensor
    features: Tensor

    def rows(self, index: Tensor) -> "Measured":
        """The same for some rows."""
        return Measured(images=self.images[index], labels=self.labels[index], features=self.features[index])

    @property
    def pixels(self) -> Tensor:
        """One flat vector an image, scaled so that a distance is a root mean square error on [0, 1]."""
        flat = self.images.flatten(1)
        return flat.div(2 * flat.shape[1] ** 0.5)

    @property
    def directions(self) -> Tensor:
        """Features of length 1."""
        return torch.nn.functional.normalize(self.features)


class Measurement:
    """The model and the real images it is compared with."""

    def __init__(self, folder: ModelFolder, train: LabeledImages, test: LabeledImages, backbone: Path) -> None:
        self.network, self.folder = load_network(backbone), folder
        self.train, self.test = self.measured(train.images, train.labels), self.measured(test.images, test.labels)
        first, second = _two_balanced_parts(train.labels)
        self.train_part, self.other_train_part = self.train.rows(first), self.train.rows(second)
        self.test_part = self.test.rows(_balanced(test.labels, torch.arange(len(test.labels))))
        self.frechet = PrincipalFrechet.of(self.train.features)

    def measured(self, images: Tensor, labels: Tensor) -> Measured:
        """`images` with their features."""
        return Measured(images=images, labels=labels, features=features(self.network, images))

    def through_codec(self, images: Tensor, labels: Tensor) -> Measured:
        """`images` encoded and decoded."""
        return self.measured(decode(self.folder.codec, encode(self.folder.codec, images)), labels)

    def generated(self, guidance: float) -> Measured:
        """`GENERATED_PER_CLASS` images of every class."""
        labels = torch.arange(NUM_CLASSES).repeat(GENERATED_PER_CLASS)
        images, _ = draw(self.folder, labels, guidance=guidance, steps=DDIM_STEPS, seed=SEED)
        return self.measured(images, labels)

    def distances(self, some: Measured) -> dict[str, Any]:
        """Kernel and Frechet distances to test and to training photos, and the spread within classes."""
        some = some.rows(_balanced(some.labels, torch.arange(len(some.labels))))
        return {
            "to_test": self._pair(some, self.test_part),
            "to_train": self._pair(some, self.other_train_part),
            "spread_within_classes": round(spread(some.features, some.labels), 3),
        }

    def _pair(self, some: Measured, others: Measured) -> dict[str, float]:
        kernel, deviation = kernel_distance(some.features, others.features)
        return {
            "kid_x1000": round(1000 * kernel, 2),
            "kid_deviation_x1000": round(1000 * deviation, 2),
            "frechet_64_components": round(self.frechet.distance(some.features, others.features), 2),
        }

    def neighbor_figures(self, samples: Measured) -> dict[str, Any]:
        """How near every kind of image comes to its nearest training photo, in features and in pixels.

        Copies of training photos through the codec tell how near a memorized image would be; held-out
        hands and the other training photos, how near an image is that was not memorized.
        """
        part = self.train_part
        generator = torch.Generator().manual_seed(SEED)
        sets = {
            "samples": samples,
            "test_photos": self.test,
            "train_photos_to_other_train_photos": self.train,
            "train_photos_through_codec": self.through_codec(part.images, part.labels),
            "moved_train_photos_through_codec": self.through_codec(moved(part.images, generator), part.labels),
        }
        figures: dict[str, Any] = {}
        for space in ("directions", "pixels"):
            pool = getattr(self.train, space)
            found = {
                name: nearest(getattr(measured, space), pool, skip_itself=measured is self.train)[0][:, 0]
                for name, measured in sets.items()
            }
            as_near_as_copies = found["samples"] < found["moved_train_photos_through_codec"].median()
            figures[space] = {name: _quantiles(values) for name, values in found.items()}
            figures[space]["samples_nearer_than_the_median_moved_copy"] = round(
                float(as_near_as_copies.float().mean()), 4
            )
        return figures


def _balanced(labels: Tensor, order: Tensor) -> Tensor:
    """The first `COMPARED_PER_CLASS` rows of every class, looking at rows in `order`."""
    return torch.cat([order[labels[order] == label][:COMPARED_PER_CLASS] for label in range(NUM_CLASSES)])


def _two_balanced_parts(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Two random sets of rows without a common row, each with `COMPARED_PER_CLASS` of every class."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))
    first = _balanced(labels, order)
    rest = order[~torch.isin(order, first)]
    return first, _balanced(labels, rest)


def _quantiles(values: Tensor) -> dict[str, float]:
    shares = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95)
    found = torch.quantile(values, torch.tensor(shares)).tolist()
    return {f"{share:.0%}": round(value, 4) for share, value in zip(shares, found, strict=True)}


def agreement(judge: DigitClassifier, measured: Measured | LabeledImages) -> dict[str, Any]:
    """Share of images that the classifier assigns to their label, overall and by class."""
    right = hits(judge, measured.images, measured.labels).float()
    return {
        "count": len(right),
        "share": round(float(right.mean()), 4),
        "by_class": [round(float(right[measured.labels == label].mean()), 3) for label in range(NUM_CLASSES)],
    }


def neighbor_picture(train: Measured, samples: Measured) -> Image.Image:
    """A row for every class: a sample, its two nearest training photos by features, and two by pixels."""
    rows = torch.arange(NUM_CLASSES)
    chosen = samples.rows(rows)
    by_features = nearest(chosen.directions, train.directions, 2)[1]
    by_pixels = nearest(chosen.pixels, train.pixels, 2)[1]
    columns = [
        chosen.images,
        *(train.images[index[:, rank]] for index in (by_features, by_pixels) for rank in (0, 1)),
    ]
    return grid(torch.stack(columns, 1).flatten(0, 1), columns=len(columns))


def save_small(picture: Image.Image, path: Path) -> None:
    """As a PNG of 256 colors: half the bytes, no visible difference on these photos."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(256).save(path, optimize=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything and write the JSON and the pictures."""
    parser = argparse.ArgumentParser(description="measure the trained denoiser of the mini pack")
    parser.add_argument("folder", type=Path, help="diffusers folder that tools.mini.train wrote")
    parser.add_argument("--backbone", type=Path, required=True, help="EfficientNet-Lite0, safetensors")
    parser.add_argument("--data", type=Path, default=Path("examples/data/sign_digits"))
    parser.add_argument("--json", type=Path, default=Path("tools/mini/quality.json"))
    parser.add_argument("--pictures", type=Path, default=Path("docs/images/mini"))
    options = parser.parse_args(arguments)
    folder = ModelFolder.read(options.folder)
    folder.transformer.half().float()
    folder.codec.half().float()
    train, test = (read_split(options.data / name) for name in ("train", "test"))
    judge = fit_classifier(train, seed=SEED)
    measurement = Measurement(folder, train, test, options.backbone)
    codec_test = measurement.through_codec(test.images, test.labels)
    report: dict[str, Any] = {
        "settings": {"ddim_steps": DDIM_STEPS, "per_class": GENERATED_PER_CLASS, "seed": SEED},
        "compared_images": COMPARED_PER_CLASS * NUM_CLASSES,
        "classifier": {
            "real_test": agreement(judge, test),
            "real_test_through_codec": agreement(judge, codec_test),
        },
        "real": {
            "train_photos": measurement.distances(measurement.train_part),
            "train_photos_through_codec": measurement.distances(
                measurement.through_codec(measurement.train_part.images, measurement.train_part.labels)
            ),
            "test_photos_spread_within_classes": round(
                spread(measurement.test_part.features, measurement.test_part.labels), 3
            ),
        },
        "generated": {},
    }
    drawn = {}
    for guidance in GUIDANCE_SCALES:
        drawn[guidance] = measurement.generated(guidance)
        figures = {"classifier": agreement(judge, drawn[guidance])} | measurement.distances(drawn[guidance])
        report["generated"][f"{guidance:g}"] = figures
        print(guidance, figures, flush=True)
    agreeing = [g for g in GUIDANCE_SCALES if report["generated"][f"{g:g}"]["classifier"]["share"] >= WANTED_AGREEMENT]
    shown = agreeing[0] if agreeing else GUIDANCE_SCALES[-1]
    report["pictures_guidance"] = shown
    report["nearest_training_photo"] = measurement.neighbor_figures(drawn[shown])
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    sheet = drawn[shown].images[: 8 * NUM_CLASSES].unflatten(0, (8, NUM_CLASSES)).transpose(0, 1).flatten(0, 1)
    save_small(grid(sheet, columns=8), options.pictures / "samples.png")
    save_small(neighbor_picture(measurement.train, drawn[shown]), options.pictures / "neighbors.png")


if __name__ == "__main__":
    main()
