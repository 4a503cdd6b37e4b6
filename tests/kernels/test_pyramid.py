"""The pyramid against torch's interpolation and its gradient."""

import numpy as np
import pytest

from limbeck_kernels.pyramid import render, render_adjoint, upsampling

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

SIDES = [16, 8, 4, 2, 1]


def levels(side=16):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((2, 3, min(r, side), min(r, side)), dtype=np.float32) for r in SIDES]


def in_torch(parts, side):
    return sum(torch.nn.functional.interpolate(part, (side, side), mode="bilinear") for part in parts)


@pytest.mark.parametrize("side", [16, 18])
def test_levels_are_upsampled_as_torch_does_and_summed(side):
    parts = levels()
    expected = in_torch([torch.from_numpy(part) for part in parts], side).numpy()
    np.testing.assert_allclose(render(parts, side), expected, atol=1e-5)


def test_the_gradient_of_every_level_is_autograds():
    parts = [torch.from_numpy(part).requires_grad_() for part in levels()]
    slope = torch.randn(2, 3, 18, 18, generator=torch.Generator().manual_seed(0))
    expected = torch.autograd.grad(in_torch(parts, 18), parts, slope)
    for found, wanted in zip(render_adjoint(slope.numpy(), SIDES), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=2e-5)


def test_a_constant_level_stays_constant():
    np.testing.assert_allclose(upsampling(5, 13).sum(axis=1), 1, rtol=1e-6)
