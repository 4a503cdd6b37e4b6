"""Crops as matrices, against torch's interpolation of the same crop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.labels.views import Views, draw_views, resized, view, whole


def one(box: tuple[int, int, int, int], *, flip: bool = False) -> Views:
    return Views(np.asarray([box], np.int16), np.asarray([flip]))


@pytest.mark.torch
@pytest.mark.parametrize("box", [(0, 0, 16, 16), (3, 5, 7, 4), (2, 0, 13, 16), (15, 15, 1, 1)])
@pytest.mark.parametrize("out", [16, 9, 31])
def test_a_crop_is_what_torch_makes_of_it_with_antialias(
    box: tuple[int, int, int, int], out: int, rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch")
    images = rng.random((1, 3, 16, 16), dtype=np.float32)
    top, left, height, width = box
    part = torch.from_numpy(images[:, :, top : top + height, left : left + width])
    wanted = torch.nn.functional.interpolate(part, (out, out), mode="bilinear", antialias=True, align_corners=False)
    np.testing.assert_allclose(view(images, one(box), out=out), wanted.numpy(), atol=1e-5)


def test_a_flip_exchanges_left_and_right_of_the_crop(rng: np.random.Generator) -> None:
    images = rng.random((1, 3, 8, 8), dtype=np.float32)
    plain, flipped = view(images, one((1, 2, 5, 4))), view(images, one((1, 2, 5, 4), flip=True))
    np.testing.assert_allclose(flipped, plain[..., ::-1], atol=1e-6)


def test_whole_views_change_nothing(rng: np.random.Generator) -> None:
    images = rng.random((4, 3, 8, 8), dtype=np.float32)
    np.testing.assert_allclose(view(images, whole(4, 8)), images, atol=1e-6)


def test_images_of_the_right_size_are_not_touched(rng: np.random.Generator) -> None:
    images = rng.random((2, 3, 8, 8), dtype=np.float32)
    assert resized(images, 8) is images


@given(st.integers(0, 2**32), st.floats(0.01, 1), st.integers(1, 40))
def test_boxes_lie_within_the_image(seed: int, least: float, size: int) -> None:
    boxes = draw_views(np.random.default_rng(seed), 20, size=size, scale=(least, 1)).boxes
    assert (boxes >= [0, 0, 1, 1]).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= size).all()


def test_crops_have_the_shares_and_shapes_that_were_asked_for() -> None:
    boxes = draw_views(np.random.default_rng(0), 2000, size=1000, scale=(0.3, 0.5)).boxes.astype(float)
    shares, ratios = boxes[:, 2] * boxes[:, 3] / 1e6, boxes[:, 3] / boxes[:, 2]
    assert shares.min() > 0.299
    assert shares.max() < 0.501
    assert shares.mean() == pytest.approx(0.4, abs=0.005)
    assert np.log(ratios).min() > np.log(3 / 4) - 0.01
    assert np.log(ratios).max() < np.log(4 / 3) + 0.01


def test_a_scale_of_one_takes_the_whole_image() -> None:
    views = draw_views(np.random.default_rng(0), 50, size=8, scale=(1, 1), flip=0)
    assert (views.boxes == [0, 0, 8, 8]).all()
    assert not views.flips.any()
