"""Crops against torch's `affine_grid` and `grid_sample`, and their gradient."""

from dataclasses import replace

import numpy as np
import pytest

from limbeck_kernels.augment import Crop, central_crop, crops, crops_adjoint, random_crop

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

PARTS = [Crop(0.1, 0.2, 0.55, 0.7), Crop(0.0, 0.0, 1.0, 1.0, mirrored=True), Crop(0.5, 0.3, 0.2, 0.6, mirrored=True)]
IMAGES = np.random.default_rng(0).random((3, 3, 12, 10), dtype=np.float32)
SIDE = 7


def in_torch(images):
    theta = torch.zeros(len(PARTS), 2, 3)
    for row, part in zip(theta, PARTS, strict=True):
        row[0, 0], row[0, 2] = part.width * (-1 if part.mirrored else 1), 2 * part.left + part.width - 1
        row[1, 1], row[1, 2] = part.height, 2 * part.top + part.height - 1
    grid = torch.nn.functional.affine_grid(theta, [len(PARTS), 3, SIDE, SIDE], align_corners=False)
    return torch.nn.functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def test_a_crop_is_torchs_grid_sample():
    expected = in_torch(torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_allclose(crops(IMAGES, PARTS, SIDE), expected, atol=3e-6)


def test_the_gradient_is_autograds():
    images = torch.from_numpy(IMAGES).requires_grad_()
    slope = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    (expected,) = torch.autograd.grad(in_torch(images), images, slope)
    np.testing.assert_allclose(crops_adjoint(slope.numpy(), PARTS, 12, 10), expected.numpy(), atol=3e-6)


def test_the_middle_of_whole_pixels_is_cut_out_unchanged():
    images = np.random.default_rng(1).random((1, 3, 16, 16), dtype=np.float32)
    np.testing.assert_array_equal(crops(images, [central_crop(0.875)], 14), images[:, :, 1:15, 1:15])


def test_random_crops_lie_inside_the_image_and_cover_what_was_asked():
    rng = np.random.default_rng(0)
    parts = [random_crop(rng, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)) for _ in range(2000)]
    for part in parts:
        assert part.top >= 0
        assert part.left >= 0
        assert part.top + part.height <= 1 + 1e-12
        assert part.left + part.width <= 1 + 1e-12
    areas = np.array([part.height * part.width for part in parts])
    assert areas.min() >= 0.08 - 1e-12
    # uniform in 0.08..1, less what a side longer than the image loses
    assert np.quantile(areas, 0.25) == pytest.approx(0.31, abs=0.03)
    assert np.mean([part.mirrored for part in parts]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("mirrored", [0.0, 0.2, 1.0])
def test_crops_are_mirrored_as_often_as_asked_and_lie_where_they_lay(mirrored):
    whole = {"scale": (0.08, 1.0), "ratio": (3 / 4, 4 / 3)}
    parts = [random_crop(np.random.default_rng(seed), **whole, mirrored=mirrored) for seed in range(2000)]
    assert np.mean([part.mirrored for part in parts]) == pytest.approx(mirrored, abs=0.03 * (0 < mirrored < 1))
    for seed, part in enumerate(parts[:20]):
        assert replace(random_crop(np.random.default_rng(seed), **whole), mirrored=part.mirrored) == part
