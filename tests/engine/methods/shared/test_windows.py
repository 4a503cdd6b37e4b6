"""Windows against torch's interpolation and pooling, and against arithmetic by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from limbeck.methods.shared.diffusion_features import window_features
from limbeck.methods.shared.windows import Window, best_windows, cut, cut_windows
from support.sources import ArraySource, blobs


def overlap(one: Window, other: Window) -> bool:
    return abs(one.top - other.top) < one.side - 1e-9 and abs(one.left - other.left) < one.side - 1e-9


def drawn(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((8, 8))


@pytest.mark.parametrize("side", [0.2, 0.25, 0.5])
def test_windows_of_one_image_do_not_overlap(side: float) -> None:
    for seed in range(10):
        found = best_windows(drawn(seed), image=0, size=64, side=side, count=5)
        assert not any(overlap(*pair) for pair in combinations(found, 2))


def test_windows_lie_in_the_image_and_come_best_first() -> None:
    found = best_windows(drawn(), image=7, size=64, side=0.25, count=5)
    assert len(found) == 5
    assert all(place >= 0 and place + window.side <= 1 for window in found for place in (window.top, window.left))
    assert [window.score for window in found] == sorted((window.score for window in found), reverse=True)
    assert {window.image for window in found} == {7}


def test_a_window_of_the_whole_image_is_the_only_one_and_scores_its_mean() -> None:
    (window,) = best_windows(drawn(), image=0, size=64, side=1.0, count=5)
    assert (window.top, window.left, window.side) == (0, 0, 1)


@pytest.mark.torch
def test_the_best_window_is_the_maximum_of_the_enlarged_and_pooled_map() -> None:
    torch = pytest.importorskip("torch")
    scores = drawn()
    enlarged = torch.nn.functional.interpolate(
        torch.tensor(scores, dtype=torch.float32)[None, None], 64, mode="bilinear"
    )
    pooled = torch.nn.functional.avg_pool2d(enlarged, 16, stride=1)[0, 0].numpy()
    best = best_windows(scores, image=0, size=64, side=0.25, count=1)[0]
    assert best.score == pytest.approx(pooled.max(), rel=1e-5)
    assert (best.top * 64, best.left * 64) == np.unravel_index(pooled.argmax(), pooled.shape)


def test_features_of_a_window_that_cuts_cells_are_weighted_by_area() -> None:
    maps = np.arange(16.0).reshape(1, 4, 4)
    # rows 0 and half of row 1, columns 1 and half of column 2
    window = Window(0, 0.0, 0.25, 0.375, 0.0)
    cells = np.array([[1, 2], [5, 6]])
    parts = np.outer([2 / 3, 1 / 3], [2 / 3, 1 / 3])
    assert window_features(maps, window) == pytest.approx([(cells * parts).sum()])


def test_features_of_the_whole_image_are_the_mean_of_the_map() -> None:
    maps = np.random.default_rng(0).standard_normal((3, 5, 5))
    np.testing.assert_allclose(window_features(maps, Window(0, 0.0, 0.0, 1.0, 0.0)), maps.mean(axis=(1, 2)))


def test_a_cut_at_its_own_size_is_the_pixels_themselves() -> None:
    image = np.random.default_rng(0).random((3, 16, 16), np.float32)
    np.testing.assert_array_equal(cut(image, Window(0, 0.25, 0.5, 0.5, 0.0), 8), image[:, 4:12, 8:16])


@pytest.mark.torch
def test_a_reduced_cut_is_torchs_antialiased_one() -> None:
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).random((3, 32, 32), np.float32)
    part = torch.tensor(image[:, 8:24, 4:20])[None]
    expected = torch.nn.functional.interpolate(part, 8, mode="bilinear", antialias=True)[0].numpy()
    np.testing.assert_allclose(cut(image, Window(0, 8 / 32, 4 / 32, 0.5, 0.0), 8), expected, atol=1e-6)


def test_cutting_reads_a_class_once_in_batches_and_keeps_the_order_of_the_windows() -> None:
    images = blobs(np.random.default_rng(0), center=0.5, count=5)
    source = ArraySource({"class 0": images})
    windows = [Window(4, 0.0, 0.0, 1.0, 0.0), Window(0, 0.5, 0.5, 0.5, 0.0), Window(4, 0.5, 0.0, 0.5, 0.0)]
    cutting = cut_windows(windows, 0, source, fit="crop", read_size=16, size=8, batch=2)
    reads = []
    while True:
        try:
            reads.append(next(cutting).done)
        except StopIteration as end:
            patches = end.value
            break
    assert reads == [2, 4, 5]
    for patch, window in zip(patches, windows, strict=True):
        np.testing.assert_array_equal(patch, cut(images[window.image], window, 8))
