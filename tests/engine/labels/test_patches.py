from __future__ import annotations

import numpy as np
import pytest

from limbeck.labels.patches import shuffle_patches


def test_patches_change_places_and_nothing_else(rng: np.random.Generator) -> None:
    images = rng.random((5, 3, 8, 8), dtype=np.float32)
    shuffled = shuffle_patches(images, rng, 2)
    for before, after in zip(images, shuffled, strict=True):
        corners = {before[:, i : i + 4, j : j + 4].tobytes() for i in (0, 4) for j in (0, 4)}
        assert corners == {after[:, i : i + 4, j : j + 4].tobytes() for i in (0, 4) for j in (0, 4)}


def test_each_image_gets_an_order_of_its_own() -> None:
    image = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8).repeat(3, axis=1)
    shuffled = shuffle_patches(image.repeat(50, axis=0), np.random.default_rng(0), 2)
    assert len({one.tobytes() for one in shuffled}) == 4  # two orders of the columns, two of the rows


def test_what_lay_in_a_row_or_a_column_still_does(rng: np.random.Generator) -> None:
    places = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3).repeat(2, axis=2).repeat(2, axis=3)
    for (one,) in shuffle_patches(places.repeat(20, axis=0), rng, 3):
        assert all(len(set(row // 3)) == 1 for row in one)
        assert all(len(set(column % 3)) == 1 for column in one.T)


@pytest.mark.parametrize("side", [1, 3])
def test_images_that_are_not_to_be_cut_or_cannot_be_stay_as_they_are(side: int, rng: np.random.Generator) -> None:
    images = rng.random((2, 3, 8, 8), dtype=np.float32)
    np.testing.assert_array_equal(shuffle_patches(images, rng, side), images)
