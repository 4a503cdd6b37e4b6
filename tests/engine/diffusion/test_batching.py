from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.diffusion.batching import in_buckets

SIZES = {"rows": st.integers(1, 40), "bucket": st.integers(1, 17)}


def row_by_row(feeds):
    """Two outputs of different shapes, each row from the same row of the inputs."""
    return {"sum": feeds["a"].sum(axis=1), "product": feeds["a"] * feeds["b"][:, None]}


def feeds_of(rows):
    return {"a": np.arange(3 * rows, dtype=np.float32).reshape(rows, 3), "b": np.arange(rows, dtype=np.int64)}


class Recorded:
    def __init__(self, run):
        self.run = run
        self.calls = []

    def __call__(self, feeds):
        self.calls.append(feeds)
        return self.run(feeds)


@given(**SIZES)
def test_buckets_give_what_one_batch_gives(rows, bucket):
    feeds = feeds_of(rows)
    found, expected = in_buckets(row_by_row, feeds, bucket=bucket), row_by_row(feeds)
    for name in ("sum", "product"):
        np.testing.assert_array_equal(found[name], expected[name], strict=True)


@given(**SIZES)
def test_every_call_has_exactly_the_buckets_rows(rows, bucket):
    run = Recorded(row_by_row)
    in_buckets(run, feeds_of(rows), bucket=bucket)
    assert {len(array) for feeds in run.calls for array in feeds.values()} == {bucket}


@given(**SIZES)
def test_no_more_calls_than_needed_are_made(rows, bucket):
    run = Recorded(row_by_row)
    in_buckets(run, feeds_of(rows), bucket=bucket)
    assert (len(run.calls) - 1) * bucket < rows <= len(run.calls) * bucket


def test_padding_repeats_the_last_row():
    run = Recorded(row_by_row)
    in_buckets(run, feeds_of(5), bucket=4)
    np.testing.assert_array_equal(run.calls[1]["b"], [4, 4, 4, 4])


def test_feeds_are_not_changed():
    feeds = feeds_of(5)
    in_buckets(row_by_row, feeds, bucket=4)
    np.testing.assert_array_equal(feeds["a"], feeds_of(5)["a"])


def test_inputs_of_different_batches_are_not_taken():
    with pytest.raises(ValueError, match="unpack"):
        in_buckets(row_by_row, {"a": np.zeros((3, 3)), "b": np.zeros(2)}, bucket=4)
