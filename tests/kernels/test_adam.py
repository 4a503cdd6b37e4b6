"""Adam against torch's."""

import numpy as np
import pytest

from limbeck_kernels.adam import Adam

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def test_twenty_steps_are_torchs():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((4, 5), dtype=np.float32)
    weight = torch.nn.Parameter(torch.from_numpy(values.copy()))
    torchs, moments = torch.optim.Adam([weight], lr=0.02), Adam.fresh(values)
    for _ in range(20):
        gradient = rng.standard_normal((4, 5), dtype=np.float32)
        weight.grad = torch.from_numpy(gradient)
        torchs.step()
        values, moments = moments.step(values, gradient, rate=0.02)
    np.testing.assert_allclose(values, weight.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_step_changes_nothing_that_it_is_given():
    values = np.ones(3, np.float32)
    before = Adam.fresh(values)
    before.step(values, values, rate=0.1)
    assert (values == 1).all()
    assert not before.first.any()
    assert before.steps == 0
