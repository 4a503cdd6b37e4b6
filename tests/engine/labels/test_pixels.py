from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import DataError
from limbeck.labels.pixels import Pixels, normalized, read_pixels
from support.pixels import colored
from support.sources import ArraySource, blobs


def test_pixels_are_read_in_label_order_as_they_are_stored(rng: np.random.Generator) -> None:
    dark, light = blobs(rng, center=0.2, count=3), blobs(rng, center=0.8, count=2)
    found = read_pixels(ArraySource({"dark": dark, "light": light}), size=16, batch=2)
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(found.floats(slice(None)), np.concatenate([dark, light]), atol=0.5 / 255 + 1e-6)


def test_a_random_subset_has_ipc_images_of_each_class_and_depends_on_the_seed(rng: np.random.Generator) -> None:
    real = colored(rng, ipc=20)
    first, again, other = (real.random_subset(ipc=4, seed=seed) for seed in (0, 0, 1))
    assert np.bincount(first.labels).tolist() == [4, 4, 4]
    assert len(np.unique(first.images.reshape(12, -1), axis=0)) == 12
    assert first.digest() == again.digest() != other.digest()


def test_the_draw_of_a_class_does_not_depend_on_the_other_classes(rng: np.random.Generator) -> None:
    real = colored(rng, ipc=20)
    kept = real.labels != 1
    labels = np.where(real.labels[kept] == 2, 1, 0)
    without = Pixels(real.images[kept], labels, (real.class_names[0], real.class_names[2]))
    whole, fewer = real.random_subset(ipc=4, seed=0), without.random_subset(ipc=4, seed=0)
    np.testing.assert_array_equal(whole.images[whole.labels == 2], fewer.images[fewer.labels == 1])


def test_a_class_with_too_few_images_is_named(rng: np.random.Generator) -> None:
    with pytest.raises(DataError, match="class 'color 0' has 2 images, fewer than ipc=3"):
        colored(rng, ipc=2).random_subset(ipc=3, seed=0)


def test_normalized_images_of_imagenets_mean_are_zero() -> None:
    mean = np.asarray([0.485, 0.456, 0.406], np.float32)[None, :, None, None]
    np.testing.assert_allclose(normalized(np.broadcast_to(mean, (1, 3, 2, 2))), 0, atol=1e-6)
