from __future__ import annotations

import numpy as np
import pytest

from limbeck.arrays import Features, Images
from limbeck.labels.pixels import Pixels
from limbeck.labels.teacher import LinearTeacher, accuracy
from support.pixels import ColorTeacher, colored


class MeanColor:
    """A backbone whose features are the mean color."""

    image_size = 8
    key = "mean color"

    def features(self, images: Images) -> Features:
        assert images.shape[2:] == (8, 8)
        return images.mean(axis=(2, 3))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_on_features_that_tell_the_classes_apart_is_right(classes: int, rng: np.random.Generator) -> None:
    real, test = (colored(rng, ipc=20, classes=classes) for _ in range(2))
    teacher = LinearTeacher.fit(MeanColor(), real)  # type: ignore[arg-type]
    assert teacher.logits(test.floats(slice(None))).shape == (20 * classes, classes)
    assert accuracy(teacher, test) == 1.0


def test_another_head_has_another_key(rng: np.random.Generator) -> None:
    keys = {
        LinearTeacher.fit(MeanColor(), colored(rng, ipc=ipc)).key  # type: ignore[arg-type]
        for ipc in (10, 11)
    }
    assert len(keys) == 2


def test_accuracy_counts_the_images_whose_class_has_the_highest_logit(rng: np.random.Generator) -> None:
    test = colored(rng, ipc=5)
    swapped = Pixels(test.images, np.where(test.labels == 0, 1, test.labels), test.class_names)
    assert accuracy(ColorTeacher(), swapped, batch=4) == 10 / 15
