"""Counting streams."""

from __future__ import annotations

import pytest

from limbeck_server.trust.identity import Identity, Quotas
from limbeck_server.trust.quotas import Streams, TooManyStreams

ONE = Identity("one", frozenset(), Quotas(max_streams=1))
OTHER = Identity("other", frozenset())


def test_each_caller_has_a_number_of_its_own():
    streams = Streams(default_limit=2)
    with streams.one(ONE), streams.one(OTHER), streams.one(OTHER):
        assert streams.num_open == 3
        with pytest.raises(TooManyStreams) as caught, streams.one(ONE):
            pass
        assert caught.value.limit == 1
    assert streams.num_open == 0


def test_a_stream_that_fails_frees_its_place():
    streams = Streams()
    for _ in range(3):
        with pytest.raises(ValueError, match="why"), streams.one(ONE):
            raise ValueError("why")


def test_a_quota_of_zero_is_none_at_all():
    with pytest.raises(TooManyStreams), Streams().one(Identity("none", frozenset(), Quotas(max_streams=0))):
        pass
