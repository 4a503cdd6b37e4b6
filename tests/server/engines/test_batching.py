"""Which rows share a run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from limbeck_server.engines.batching import Share, next_batch


@dataclass(frozen=True)
class Call:
    key: str
    num_rows: int
    next_row: int = 0


calls = st.lists(st.builds(Call, st.sampled_from("ab"), st.integers(1, 20)), min_size=1, max_size=8)
buckets = st.integers(1, 16)


def after(waiting: list[Call], shares: tuple[Share, ...]) -> list[Call]:
    """What waits when a batch has run."""
    left = list(waiting)
    for share in shares:
        left[share.index] = replace(left[share.index], next_row=share.stop)
    return [call for call in left if call.next_row < call.num_rows]


def all_batches(waiting: list[Call], bucket: int) -> list[tuple[Share, ...]]:
    found = []
    while waiting:
        found.append(next_batch(waiting, bucket))
        waiting = after(waiting, found[-1])
    return found


@given(calls, buckets)
def test_every_row_runs_exactly_once(waiting: list[Call], bucket: int) -> None:
    assert sum(share.num_rows for batch in all_batches(waiting, bucket) for share in batch) == sum(
        call.num_rows for call in waiting
    )


@given(calls, buckets)
def test_no_batch_is_larger_than_the_bucket_or_empty(waiting: list[Call], bucket: int) -> None:
    assert all(1 <= sum(share.num_rows for share in batch) <= bucket for batch in all_batches(waiting, bucket))


@given(calls, buckets)
def test_calls_of_one_key_need_no_more_runs_than_their_rows_together(waiting: list[Call], bucket: int) -> None:
    of_one = [replace(call, key="a") for call in waiting]
    assert len(all_batches(of_one, bucket)) == -(-sum(call.num_rows for call in of_one) // bucket)


@given(calls, buckets)
def test_the_call_that_waits_longest_is_in_the_next_batch(waiting: list[Call], bucket: int) -> None:
    assert next_batch(waiting, bucket)[0].index == 0


@given(calls, buckets)
def test_a_batch_holds_one_key_alone(waiting: list[Call], bucket: int) -> None:
    assert {waiting[share.index].key for share in next_batch(waiting, bucket)} == {waiting[0].key}


def test_a_large_call_leaves_its_last_rows_to_a_batch_with_the_next() -> None:
    waiting = [Call("a", 10), Call("b", 3), Call("a", 10)]
    first = next_batch(waiting, 16)
    assert first == (Share(0, 0, 10), Share(2, 0, 6))
    waiting = after(waiting, first)
    assert next_batch(waiting, 16) == (Share(0, 0, 3),)
    assert next_batch(after(waiting, next_batch(waiting, 16)), 16) == (Share(0, 6, 10),)
