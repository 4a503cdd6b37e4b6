"""The published protocols, every number that they state a field, and what they come to for a set (`Recipe`).

    hard    hard labels                 Kim et al., ICML 2022 (IDC); Gu et al., CVPR 2024 (Minimax)
    soft    a teacher beside, online    Sun et al., CVPR 2024 (RDED)
    fkd     stored soft labels          Yin et al., NeurIPS 2023 (SRe2L); Shen and Xing, ECCV 2022 (FKD)

The linear probe (`limbeck.evaluate.probe`) and classifier inheritance (`limbeck.evaluate.inheritance`) train no
network and stand beside these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from limbeck.evaluate.recipe import Recipe
from limbeck.evaluate.students import Norm

LabelKind = Literal["hard", "online", "stored"]

_MANY_CLASSES = 100


@dataclass(frozen=True, kw_only=True)
class HardLabels:
    """Hard labels, CutMix on every batch (Kim et al., ICML 2022; Gu et al., CVPR 2024).

    Args:
        image_size: Height and width in the papers.
        norm: Of the students in the papers.
        epochs: By images per class: (up to this many, epochs).
        epochs_beyond: For more images per class than the table has.
        epochs_at_100_classes: What the epochs are multiplied by for exactly 100 classes, rounded down to hundreds.
        learning_rate, weight_decay, batch_size: Up to 100 classes.
        large_learning_rate, large_weight_decay, large_batch_size: For more classes.
        num_checks: Tests in a run, equally far apart: the papers report the best of them.

    The official code turns crops, flips and colors before it normalizes and mixes after; so does this. Its milestones
    are at two thirds and five sixths.
    """

    name: ClassVar[str] = "hard"
    labels: ClassVar[LabelKind] = "hard"
    teacher: ClassVar[str | None] = None
    image_size: int = 224
    norm: Norm = "instance"
    epochs: tuple[tuple[int, int], ...] = ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500))
    epochs_beyond: int = 300
    epochs_at_100_classes: float = 2 / 3
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 64
    large_learning_rate: float = 0.1
    large_weight_decay: float = 1e-4
    large_batch_size: int = 128
    milestones: tuple[float, ...] = (2 / 3, 5 / 6)
    decay: float = 0.2
    crop_scale: tuple[float, float] = (0.5, 1.0)
    flip: float = 0.5
    color_jitter: float = 0.4
    lighting: float = 0.1
    cutmix_beta: float = 1.0
    num_checks: int = 100
    test_margin: ClassVar[bool] = False

    def num_epochs(self, *, ipc: int, num_classes: int) -> int:
        """The table, read."""
        epochs = next((epochs for most, epochs in self.epochs if ipc <= most), self.epochs_beyond)
        if num_classes == _MANY_CLASSES:
            epochs = int(epochs * self.epochs_at_100_classes + 1e-6) // 100 * 100
        return epochs

    def recipe(self, *, ipc: int, num_classes: int, student: str, image_size: int) -> Recipe:
        """For a set of `ipc` images per class; the same for every student."""
        large = num_classes > _MANY_CLASSES
        epochs = self.num_epochs(ipc=ipc, num_classes=num_classes)
        return Recipe(
            epochs=epochs,
            batch_size=self.large_batch_size if large else self.batch_size,
            optimizer="sgd",
            learning_rate=self.large_learning_rate if large else self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.large_weight_decay if large else self.weight_decay,
            milestones=self.milestones,
            decay=self.decay,
            crop_scale=self.crop_scale,
            flip=self.flip,
            color_jitter=self.color_jitter,
            lighting=self.lighting,
            cutmix_beta=self.cutmix_beta,
            check_every=max(1, epochs // self.num_checks),
        )


_ADAMW_RATES: Mapping[str, float] = {
    "efficientnet-b0": 2e-3,
    "mobilenet-v2": 2.5e-3,
    "vgg-11": 5e-4,
    "vit-b-16": 1e-4,
    "swin-v2-t": 1e-4,
    "alexnet": 1e-4,
}
"""RDED's learning rates where they are not 1e-3."""


@dataclass(frozen=True, kw_only=True)
class OnlineSoftLabels:
    """A teacher labels every augmented image as it is shown (Sun et al., CVPR 2024: RDED).

    Args:
        image_size: Height and width in the paper.
        norm: Of the students in the paper.
        patches: Patches a side of its mosaics, from 64 px on upwards 2; smaller images are no mosaics.
        rates: Learning rates by student, 1e-3 for any other.
        batch_size: By images per class: (from this many, images); doubled from 100 classes on.
        batch_size_at_200_classes: For exactly 200 classes (Tiny-ImageNet), whatever the images per class.
        decay_vectors: False: biases and norms do not decay.
        temperature: Of teacher and student; the loss is not multiplied by its square.
        cosine_periods: 2: the rate ends at half of what it began with, a quirk of the official code.
        extra_pass: Before each step the official code shows the student the batch in training mode without a gradient,
            which moves the batch norms' statistics twice and doubles the cost of a forward pass. The images are to be
            the unmixed ones there, but were mixed in place.
        check_every: Epochs between tests.
        check_from: Part of the epochs up to which nothing is tested; the best test counts.
        test_margin: Test images are read larger, 8 / 7 of the size, and their middle is shown.
    """

    name: ClassVar[str] = "soft"
    labels: ClassVar[LabelKind] = "online"
    teacher: ClassVar[str | None] = "resnet-18"
    image_size: int = 224
    norm: Norm = "batch"
    patches: int = 2
    mosaics_above: int = 64
    epochs: int = 300
    rates: tuple[tuple[str, float], ...] = tuple(_ADAMW_RATES.items())
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    decay_vectors: bool = False
    batch_size: tuple[tuple[int, int], ...] = ((50, 100), (10, 50), (1, 10))
    batch_size_at_200_classes: int = 100
    cosine_periods: float = 2.0
    flip: float = 0.5
    cutmix_beta: float = 1.0
    temperature: float = 20.0
    extra_pass: bool = True
    check_every: int = 10
    check_from: float = 0.8
    test_margin: bool = True

    def num_images(self, *, ipc: int, num_classes: int) -> int:
        """Of a step."""
        batch = next(images for least, images in self.batch_size if ipc >= least)
        if num_classes == 200:
            batch = self.batch_size_at_200_classes
        elif num_classes >= _MANY_CLASSES:
            batch *= 2
        return min(batch, ipc * num_classes)

    def recipe(self, *, ipc: int, num_classes: int, student: str, image_size: int) -> Recipe:
        """For a set of `ipc` images per class and a student by name."""
        patches = self.patches if image_size > self.mosaics_above else 1
        return Recipe(
            epochs=self.epochs,
            batch_size=self.num_images(ipc=ipc, num_classes=num_classes),
            optimizer="adamw",
            learning_rate=dict(self.rates).get(student, self.learning_rate),
            weight_decay=self.weight_decay,
            decay_vectors=self.decay_vectors,
            cosine_periods=self.cosine_periods,
            crop_scale=(1 / patches, 1.0),
            flip=self.flip,
            patches=patches,
            cutmix_beta=self.cutmix_beta,
            temperature=self.temperature,
            extra_pass=self.extra_pass,
            check_every=self.check_every,
            check_from=self.check_from,
        )


@dataclass(frozen=True, kw_only=True)
class StoredSoftLabels:
    """Soft labels stored for each augmentation (Yin et al., NeurIPS 2023: SRe2L; Shen and Xing, ECCV 2022: FKD).

    Args:
        image_size: Height and width in the paper.
        norm: Of the students in the paper.
        batch_size: Images that are mixed with each other and labeled together.
        crop_scale: Shares of the area between which the stored crops lie.
        temperature: Of teacher and student; stored logits are at temperature 1.
        cosine_periods: 1: the rate ends at 0.
        piece_size: Images that go through the student at once; two pieces make the step of a batch.
        decay_vectors: False: biases and norms do not decay.
        check_every: Epochs between tests, as SRe2L has them; D4M tests every 50.
        test_margin: Test images are read larger, 8 / 7 of the size, and their middle is shown.
    """

    name: ClassVar[str] = "fkd"
    labels: ClassVar[LabelKind] = "stored"
    teacher: ClassVar[str | None] = "resnet-18"
    image_size: int = 224
    norm: Norm = "batch"
    epochs: int = 300
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    batch_size: int = 1024
    cosine_periods: float = 1.0
    crop_scale: tuple[float, float] = (0.08, 1.0)
    flip: float = 0.5
    cutmix_beta: float = 1.0
    temperature: float = 20.0
    piece_size: int = 512
    decay_vectors: bool = False
    check_every: int = 10
    test_margin: bool = True

    def recipe(self, *, ipc: int, num_classes: int, student: str, image_size: int) -> Recipe:
        """For a set of `ipc` images per class; the same for every student."""
        return Recipe(
            epochs=self.epochs,
            batch_size=min(self.batch_size, ipc * num_classes),
            optimizer="adamw",
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            decay_vectors=self.decay_vectors,
            cosine_periods=self.cosine_periods,
            crop_scale=self.crop_scale,
            flip=self.flip,
            cutmix_beta=self.cutmix_beta,
            temperature=self.temperature,
            piece_size=self.piece_size,
            check_every=self.check_every,
        )


Protocol = HardLabels | OnlineSoftLabels | StoredSoftLabels
PROTOCOLS: Mapping[str, type[Protocol]] = {kind.name: kind for kind in (HardLabels, OnlineSoftLabels, StoredSoftLabels)}
