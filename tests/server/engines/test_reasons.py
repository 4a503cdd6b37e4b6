"""Errors between worker and front."""

from __future__ import annotations

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck import errors
from limbeck_server.engines.reasons import error_of, reason_of
from limbeck_server.store.errors import NotFoundError

KINDS = [
    NotFoundError,
    errors.PackError,
    errors.FeedError,
    errors.BackendUnavailableError,
    errors.MemoryLimitError,
    errors.EngineError,
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_arrives_as_what_it_was(kind: type[errors.LimbeckError]) -> None:
    arrived = error_of(reason_of(kind("why")), "why")
    assert (type(arrived), str(arrived)) == (kind, "why")


def test_an_error_that_says_nothing_to_a_caller_arrives_as_one_of_the_engine() -> None:
    assert type(error_of(reason_of(errors.ConfigError("why")), "why")) is errors.EngineError


def test_an_unknown_reason_is_an_error_of_the_engine() -> None:
    assert type(error_of("HICCUP", "why")) is errors.EngineError
