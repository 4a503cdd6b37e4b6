from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import ConfigError
from limbeck.methods.shared.mosaic import mosaic, patch_size, patches_of_image, usual_parts


def numbered(count: int) -> np.ndarray:
    """Patch i has the value i everywhere."""
    return np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None, None], (count, 3, 2, 2)).copy()


def test_quadrants_are_filled_row_by_row_with_neighbors() -> None:
    images = mosaic(numbered(8), 2)
    np.testing.assert_array_equal(images[1, 0], [[4, 4, 5, 5], [4, 4, 5, 5], [6, 6, 7, 7], [6, 6, 7, 7]])


def test_strided_composition_takes_patches_j_n_2n_and_3n_apart() -> None:
    images = mosaic(numbered(8), 2, order="strided")
    np.testing.assert_array_equal(images[1, 0, ::2, ::2], [[1, 3], [5, 7]])


@pytest.mark.parametrize("order", ["consecutive", "strided"])
def test_the_patches_of_an_image_are_those_that_are_in_it(order: str) -> None:
    images = mosaic(numbered(12), 2, order=order)
    for image in range(3):
        assert sorted({*images[image].ravel().tolist()}) == sorted(
            patches_of_image(image, images=3, parts=2, order=order)
        )


def test_one_part_is_the_patch_itself() -> None:
    patches = np.random.default_rng(0).random((3, 3, 4, 4), np.float32)
    np.testing.assert_array_equal(mosaic(patches, 1), patches)


def test_small_images_are_not_composed() -> None:
    assert [usual_parts(size) for size in (32, 64, 128, 256)] == [1, 1, 2, 2]


def test_parts_that_do_not_fill_an_image_are_refused() -> None:
    with pytest.raises(ConfigError, match="images of 64 pixels cannot be composed of parts=3 by 3"):
        patch_size(64, 3)
