"""Color against torch: the release's formula, and autograd."""

import numpy as np
import pytest

from limbeck_kernels.color import CORRELATED, to_color, to_color_adjoint

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

RNG = np.random.default_rng(0)
FREE = RNG.standard_normal((2, 3, 5, 4), dtype=np.float32)


def in_torch(free, correlate):
    mixed = torch.einsum("dc,nchw->ndhw", torch.from_numpy(CORRELATED), free) if correlate else free
    return torch.sigmoid(2 * mixed)


@pytest.mark.parametrize("correlate", [True, False])
def test_colors_are_a_sigmoid_of_mixed_channels(correlate):
    expected = in_torch(torch.from_numpy(FREE), correlate).numpy()
    np.testing.assert_allclose(to_color(FREE, correlate=correlate), expected, atol=1e-6)


@pytest.mark.parametrize("correlate", [True, False])
def test_the_gradient_is_autograds(correlate):
    free = torch.from_numpy(FREE).requires_grad_()
    colors = in_torch(free, correlate)
    slope = RNG.standard_normal(FREE.shape, dtype=np.float32)
    (expected,) = torch.autograd.grad(colors, free, torch.from_numpy(slope))
    found = to_color_adjoint(slope, colors.detach().numpy(), correlate=correlate)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_the_strongest_direction_is_brightness_and_has_length_one():
    strongest = CORRELATED[:, np.linalg.norm(CORRELATED, axis=0).argmax()]
    assert np.linalg.norm(strongest) == pytest.approx(1)
    assert np.ptp(strongest) < 0.05


def test_extreme_numbers_are_black_and_white():
    assert to_color(np.full((1, 3, 1, 1), 1e4, np.float32), correlate=False).min() == 1
    assert to_color(np.full((1, 3, 1, 1), -1e4, np.float32), correlate=False).max() == 0
