"""Images of the mini pack made from noise, and what they are worth beside real photos.

right       share of the images that a classifier trained on real photos reads as the class asked for
probe       accuracy, on real photos it has not seen, of a classifier trained on the images
kid         kernel distance x 1000 between the images' features and those of real photos; smaller is nearer

Both classifiers are linear probes on the pack's backbone. Real photos are the training split of Sign Language Digits,
cut in photo order (neighboring photos show the same hand): the first four fifths are the real photos, the last fifth
is what `probe` is measured on. The test split is not touched.
"""

from __future__ import annotations

import os
import platform
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tools.mini.distances import kernel_distance
from tools.mini.split import fit_and_validation, photo_number

from limbeck.arrays import Features, Images, Latents, Times
from limbeck.backbone import PackBackbone
from limbeck.data.source import open_source
from limbeck.diffusion.base import Condition, Denoiser
from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.samplers import SamplerName, finish, sampler
from limbeck.evaluate.probe import FeatureSet, extract, linear_probe
from limbeck.models import Models

PHOTOS = Path(__file__).parents[1] / "examples/data/sign_digits/train"


@dataclass(frozen=True)
class Walk:
    """How images are made: a sampler, its steps, and the guidance."""

    sampler: SamplerName
    num_steps: int
    _: KW_ONLY
    guidance: float = 4.0
    interval: tuple[float, float] = (0.0, 1.0)

    def __str__(self) -> str:
        """Such as `dpm++2m 20, guidance 4, 0.1-0.8`."""
        where = "" if self.interval == (0.0, 1.0) else ", {}-{}".format(*self.interval)
        return f"{self.sampler} {self.num_steps}, guidance {self.guidance:g}{where}"


@dataclass
class Counted:
    """A denoiser that counts the rows it is asked."""

    denoiser: Denoiser
    rows: int = 0

    def __call__(self, latents: Latents, times: Times, condition: Condition) -> Latents:
        self.rows += len(latents)
        return self.denoiser(latents, times, condition)


def make_latents(
    models: Models, denoiser: Denoiser, walk: Walk, *, per_class: int, num_classes: int = 10, seed: int = 0
) -> Latents:
    """`per_class` latents of each class, in class order; the same start noise for every walk of a seed."""
    rng = np.random.default_rng(seed)
    shape = (per_class * num_classes, *models.latent_shape)
    start = rng.standard_normal(shape, dtype=np.float32)
    run = sampler(walk.sampler)
    guided = Guided(
        denoiser,
        models.conditioning,
        scale=walk.guidance,
        interval=walk.interval,
        num_times=models.schedule.num_times,
    )
    steps = run(
        guided,
        start,
        models.conditioning.of_classes([str(digit) for digit in range(num_classes) for _ in range(per_class)]),
        schedule=models.schedule,
        times=run.times(models.schedule, walk.num_steps),
        noise=lambda step: rng.standard_normal(shape, dtype=np.float32),
    )
    return finish(start, steps)


def relative_error(latents: Latents, reference: Latents) -> float:
    """The median over samples of |latents - reference| / |reference|, in L2."""
    axes = (1, 2, 3)
    distance = np.sqrt(((latents - reference) ** 2).sum(axes) / (reference**2).sum(axes))
    return float(np.median(distance))


@dataclass(frozen=True)
class Worth:
    """The figures of one set of images; see the top of the file."""

    right: float
    probe: float
    kid: float
    kid_deviation: float

    def __str__(self) -> str:
        """One line of a table."""
        return (
            f"right {100 * self.right:5.1f} %  probe {100 * self.probe:5.1f} %  "
            f"kid {self.kid:5.1f} ± {self.kid_deviation:.1f}"
        )


class Judge:
    """Real photos in the backbone's features, and what generated images are worth beside them."""

    def __init__(self, models: Models, backbone: PackBackbone, photos: Path = PHOTOS) -> None:
        """Read the photos; `all_real` is what a probe trained on all of them reaches."""
        self._models, self._backbone = models, backbone
        source = open_source(photos)
        read = extract(source, backbone)
        names = [name for class_id in range(len(source.class_names)) for name in source.names(class_id)]
        order = np.argsort([photo_number(name) for name in names], kind="stable")
        self._real, self._held_out = (
            FeatureSet(read.features[order[rows]], read.labels[order[rows]]) for rows in fit_and_validation(len(order))
        )
        self.all_real = linear_probe(self._real, self._held_out)

    def worth(self, latents: Latents, *, num_classes: int = 10) -> Worth:
        """Of the images that these latents decode to, as many of each class, in class order."""
        labels = np.repeat(np.arange(num_classes), len(latents) // num_classes)
        made = FeatureSet(self._features(self._models.codec.decode(latents)), labels)
        kid, deviation = kernel_distance(torch.from_numpy(made.features), torch.from_numpy(self._real.features))
        return Worth(
            right=linear_probe(self._real, made),
            probe=linear_probe(made, self._held_out),
            kid=1000 * kid,
            kid_deviation=1000 * deviation,
        )

    def _features(self, images: Images) -> Features:
        """Features of images as they would be read back from a file: 8 bits, scaled to the backbone's size."""
        size = (self._backbone.image_size, self._backbone.image_size)
        parts = []
        for start in range(0, len(images), 16):
            bytes_ = (images[start : start + 16].transpose(0, 2, 3, 1) * 255).round().astype(np.uint8)
            large = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)) for image in bytes_]
            parts.append(self._backbone.features(np.stack(large).transpose(0, 3, 1, 2).astype(np.float32) / 255))
        return np.concatenate(parts)


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
