"""The linear probe: how good a classifier do these images train, on the features of a frozen backbone?

Logistic regression. It is convex, so its own training has no seed; the spread over seeds is
that of the images: distilled with other seeds, or drawn at random anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.arrays import Array, ClassIds, Features
from limbeck.backbone import PackBackbone
from limbeck.data.base import ImageSource
from limbeck.errors import DataError


@dataclass(frozen=True)
class FeatureSet:
    """Features of a whole source with their labels.

    Args:
        features: Shape (images, dimensions).
        labels: Shape (images,), class ids.
    """

    features: Features
    labels: ClassIds


@dataclass(frozen=True)
class Accuracy:
    """Test accuracy of the same classifier over several training sets of one kind.

    Args:
        name: What it was trained on.
        images: How many images one training set has.
        accuracies: One a seed, 0..1.
    """

    name: str
    images: int
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.accuracies))

    @property
    def spread(self) -> float:
        """The sample standard deviation over seeds; 0 for one."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else 0.0


def extract(
    source: ImageSource, backbone: PackBackbone, *, batch: int = 16, on_images: Callable[[int], None] | None = None
) -> FeatureSet:
    """The features of every image of `source`, read at the backbone's size in batches of `batch`.

    `on_images` is called with the number of images of each batch, for a progress bar.
    """
    features: list[Array] = []
    labels: list[int] = []
    for class_id in range(len(source.class_names)):
        for images in source.images(class_id, size=backbone.image_size, fit="squash", batch=batch):
            features.append(backbone.features(images))
            labels += [class_id] * len(images)
            if on_images is not None:
                on_images(len(images))
    return FeatureSet(np.concatenate(features), np.asarray(labels, np.int64))


def linear_probe(train: FeatureSet, test: FeatureSet) -> float:
    """Test accuracy, 0..1, of logistic regression (L2, C=1) on the features as they are.

    Not standardized: with a few images a class their spread says little, and random real images lost 6 points by it.
    """
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(max_iter=5000).fit(train.features, train.labels)
    return float(classifier.score(test.features, test.labels))


def random_subsets(real: FeatureSet, *, ipc: int, seeds: Sequence[int]) -> Iterator[FeatureSet]:
    """For each seed, `ipc` images of each class drawn without replacement: the baseline of every method.

    Raises:
        DataError: A class has fewer than `ipc` images.
    """
    classes, counts = np.unique(real.labels, return_counts=True)
    if counts.min() < ipc:
        raise DataError(f"class {classes[counts.argmin()]} has {counts.min()} images, fewer than ipc={ipc}")
    for seed in seeds:
        rng = np.random.default_rng(seed)
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(real.labels == label), ipc, replace=False) for label in classes]
        )
        yield FeatureSet(real.features[rows], real.labels[rows])


def compare(distilled: Sequence[FeatureSet], train: FeatureSet, test: FeatureSet, *, seeds: int) -> list[Accuracy]:
    """The classifier trained on the distilled images, on as many random real ones, and on all real ones.

    Args:
        distilled: One feature set a seed, with labels in the order of `train`'s classes.
        train: The real training images.
        test: The real test images.
        seeds: How many random draws of real images.

    Raises:
        DataError: The distilled sets differ in size, or classes are missing.
    """
    sizes = {len(part.labels) for part in distilled}
    classes = {tuple(np.unique(part.labels).tolist()) for part in (*distilled, train, test)}
    if len(sizes) != 1 or len(classes) != 1:
        raise DataError(f"the sets cannot be compared: they have {sorted(sizes)} images and labels {sorted(classes)}")
    (labels,) = classes
    if len(labels) < 2:
        raise DataError("a classifier needs two classes at least, these sets have one")
    ipc = sizes.pop() // len(labels)
    draws = random_subsets(train, ipc=ipc, seeds=range(seeds))
    return [
        Accuracy("distilled", len(distilled[0].labels), tuple(linear_probe(part, test) for part in distilled)),
        Accuracy("random real", len(distilled[0].labels), tuple(linear_probe(part, test) for part in draws)),
        Accuracy("all real", len(train.labels), (linear_probe(train, test),)),
    ]
