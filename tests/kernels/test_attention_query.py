import numpy as np
import pytest

from limbeck_kernels.attention_query import attended


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.01, 1.0, 30.0])
def test_it_is_softmax_attention(rng, temperature):
    torch = pytest.importorskip("torch")
    queries, keys, values = (rng.normal(size=shape).astype(np.float32) for shape in ((7, 4), (9, 4), (9, 5)))
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(torch.tensor(array).double() for array in (queries, keys, values)), scale=1 / temperature
    )
    np.testing.assert_allclose(attended(queries, keys, values, temperature=temperature), expected, rtol=1e-6)


@pytest.mark.parametrize("temperature", [0, 1e-12])
def test_at_no_temperature_the_likest_value_is_taken(rng, temperature):
    queries, keys, values = unit(rng.normal(size=(20, 6))), unit(rng.normal(size=(8, 6))), rng.normal(size=(8, 3))
    likest = values[(queries @ keys.T).argmax(axis=1)]
    np.testing.assert_allclose(attended(queries, keys, values, temperature=temperature), likest, rtol=1e-9)


@pytest.mark.parametrize("temperature", [1e12, np.inf])
def test_at_infinite_temperature_all_get_the_mean(rng, temperature):
    queries, keys, values = rng.normal(size=(20, 6)), rng.normal(size=(8, 6)), rng.normal(size=(8, 3))
    mean = np.repeat(values.mean(axis=0)[None], 20, axis=0)
    np.testing.assert_allclose(attended(queries, keys, values, temperature=temperature), mean, rtol=1e-9)


def test_large_products_do_not_overflow(rng):
    queries, keys = 1e4 * rng.normal(size=(5, 6)), 1e4 * rng.normal(size=(8, 6))
    assert np.isfinite(attended(queries, keys, keys, temperature=0.01)).all()


def test_rows_do_not_depend_on_how_many_are_asked_at_a_time(rng):
    queries, keys = rng.normal(size=(2100, 3)), rng.normal(size=(8, 3))
    whole = attended(queries, keys, keys, temperature=1)
    np.testing.assert_allclose(whole[1500:1501], attended(queries[1500:1501], keys, keys, temperature=1))
