"""The softmax against torch's."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck_kernels.softmax import softmax


@pytest.mark.torch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0, 0.01])
def test_it_is_torchs_in_the_precision_of_the_logits(dtype: type, temperature: float) -> None:
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(0).standard_normal((3, 5, 7)).astype(dtype)
    found = softmax(logits, temperature)
    assert found.dtype == dtype
    expected = (torch.from_numpy(logits) / temperature).softmax(-1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4 if dtype is np.float32 else 1e-12, atol=1e-30)


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, 0.0, -1e4]], np.float32)
    np.testing.assert_array_equal(softmax(logits), [[1, 0, 0]])
    np.testing.assert_allclose(softmax(logits, 1e9), [[1 / 3] * 3], rtol=1e-4)
