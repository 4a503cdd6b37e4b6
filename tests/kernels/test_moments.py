from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck_kernels.moments import Moments


@given(cuts=st.lists(st.integers(1, 39), max_size=5), offset=st.sampled_from([0.0, 1e4]))
def test_parts_merged_in_any_cut_have_the_moments_of_the_whole(cuts: list[int], offset: float) -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 3)) + offset
    parts = [part for part in np.split(vectors, sorted(set(cuts))) if len(part)]
    merged = Moments.of(parts[0])
    for part in parts[1:]:
        merged = merged.merged(Moments.of(part))
    assert merged.count == 40
    assert merged.mean == pytest.approx(vectors.mean(axis=0), rel=1e-12)
    assert merged.variance == pytest.approx(vectors.var(axis=0, ddof=1), rel=1e-9)


def test_one_vector_has_no_variance_rather_than_none_at_all() -> None:
    assert Moments.of(np.ones((1, 2))).variance.tolist() == [0.0, 0.0]


def test_half_precision_vectors_are_summed_in_double() -> None:
    vectors = np.full((3000, 1), 60_000.0, np.float16)
    assert Moments.of(vectors).mean == pytest.approx(vectors[0].astype(float))
