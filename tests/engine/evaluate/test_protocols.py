"""The published numbers, read from the papers' and releases' own tables."""

from __future__ import annotations

import pytest

from limbeck.evaluate.protocols import HardLabels, OnlineSoftLabels, StoredSoftLabels


@pytest.mark.parametrize(
    ("ipc", "classes", "epochs"),
    [
        (1, 10, 3000),
        (2, 10, 2000),
        (10, 10, 2000),
        (20, 10, 1500),
        (50, 10, 1500),
        (51, 10, 1000),
        (200, 10, 1000),
        (500, 10, 500),
        (501, 10, 300),
        (1, 100, 2000),
        (10, 100, 1300),
        (50, 100, 1000),
        (100, 100, 600),
        (500, 100, 300),
        (1000, 100, 200),
        (10, 1000, 2000),
    ],
)
def test_the_epochs_of_hard_labels(ipc: int, classes: int, epochs: int) -> None:
    assert HardLabels().num_epochs(ipc=ipc, num_classes=classes) == epochs


def test_more_than_a_hundred_classes_train_faster_in_larger_batches() -> None:
    few, many = (
        HardLabels().recipe(ipc=10, num_classes=classes, student="convnet-6", image_size=224) for classes in (100, 101)
    )
    assert (few.learning_rate, few.weight_decay, few.batch_size) == (0.01, 5e-4, 64)
    assert (many.learning_rate, many.weight_decay, many.batch_size) == (0.1, 1e-4, 128)


@pytest.mark.parametrize(
    ("ipc", "classes", "batch"),
    [
        (1, 10, 10),
        (10, 10, 50),
        (50, 10, 100),
        (50, 100, 200),
        (10, 1000, 100),
        (1, 2, 2),
        (50, 200, 100),
        (1, 200, 100),
    ],
)
def test_the_batches_of_rded(ipc: int, classes: int, batch: int) -> None:
    recipe = OnlineSoftLabels().recipe(ipc=ipc, num_classes=classes, student="resnet-18", image_size=224)
    assert recipe.batch_size == batch


@pytest.mark.parametrize(
    ("student", "rate"),
    [("resnet-18", 1e-3), ("efficientnet-b0", 2e-3), ("mobilenet-v2", 2.5e-3), ("vit-b-16", 1e-4), ("vgg-11", 5e-4)],
)
def test_the_rates_of_rded(student: str, rate: float) -> None:
    assert OnlineSoftLabels().recipe(ipc=10, num_classes=10, student=student, image_size=224).learning_rate == rate


def test_small_images_are_no_mosaics() -> None:
    large, small = (
        OnlineSoftLabels().recipe(ipc=10, num_classes=10, student="resnet-18", image_size=size) for size in (224, 64)
    )
    assert (large.patches, large.crop_scale) == (2, (0.5, 1.0))
    assert (small.patches, small.crop_scale) == (1, (1.0, 1.0))


def test_a_stored_batch_is_no_larger_than_the_set() -> None:
    recipe = StoredSoftLabels().recipe(ipc=10, num_classes=10, student="resnet-18", image_size=224)
    assert recipe.batch_size == 100
