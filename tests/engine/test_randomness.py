"""Random numbers come from (seed, class, index, use) and nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from limbeck.randomness import generator, small_seed

KEYS = st.tuples(st.integers(0, 2**31), st.text(max_size=5), st.integers(0, 10**6), st.text(max_size=5))


@given(KEYS)
def test_the_same_key_gives_the_same_numbers(key: tuple[int, str, int, str]) -> None:
    assert generator(*key).integers(2**63) == generator(*key).integers(2**63)


@given(KEYS, KEYS)
def test_different_keys_give_different_numbers(
    one: tuple[int, str, int, str], other: tuple[int, str, int, str]
) -> None:
    same = generator(*one).integers(2**63, size=2).tolist() == generator(*other).integers(2**63, size=2).tolist()
    assert same == (one == other)


def test_the_numbers_of_neighboring_images_are_uncorrelated() -> None:
    drawn = np.stack([generator(0, "cat", index, "start").standard_normal(4000) for index in range(8)])
    correlation = np.corrcoef(drawn) - np.eye(8)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)


@given(st.integers(0, 2**31), st.text(max_size=5))
def test_small_seeds_fit_32_bits(seed: int, name: str) -> None:
    assert 0 <= small_seed(seed, name, "k-means") < 2**32
