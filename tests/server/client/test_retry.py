"""How long and how often something that failed is tried again."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("grpc", reason="the client extra is not installed")

from limbeck_server.client.errors import ServerError
from limbeck_server.client.retry import Patience
from limbeck_server.wire.refusal import Code, Refusal


def refused(code: Code, reason: str = "", retry_seconds: float | None = None) -> ServerError:
    return ServerError(Refusal(code, reason, "no", retry_seconds=retry_seconds))


@pytest.mark.parametrize(
    "error",
    [
        refused(Code.UNAVAILABLE),
        refused(Code.UNAVAILABLE, "DISK_FULL", 0.01),
        refused(Code.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", 0.01),
        refused(Code.ABORTED, "UPLOAD_BUSY", 0.01),
        refused(Code.UNKNOWN),
        refused(Code.INTERNAL),
    ],
    ids=lambda error: f"{error.code} {error.reason}",
)
def test_what_may_pass_is_waited_for(error: ServerError) -> None:
    patience = Patience(60)
    asyncio.run(patience.wait(error))
    assert patience.attempts == 1


@pytest.mark.parametrize(
    "error",
    [
        refused(Code.RESOURCE_EXHAUSTED, "OUT_OF_MEMORY"),
        refused(Code.ABORTED, "JOB_CANCELLED"),
        refused(Code.INTERNAL, "INTERNAL"),
        refused(Code.NOT_FOUND, "NOT_FOUND"),
        refused(Code.INVALID_ARGUMENT),
        refused(Code.DEADLINE_EXCEEDED),
    ],
    ids=lambda error: f"{error.code} {error.reason}",
)
def test_what_stays_is_raised_at_once(error: ServerError) -> None:
    with pytest.raises(ServerError) as raised:
        asyncio.run(Patience(60).wait(error))
    assert raised.value is error


def test_a_wait_that_would_be_too_long_is_not_begun() -> None:
    with pytest.raises(ServerError):
        asyncio.run(Patience(20).wait(refused(Code.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", 30)))


def test_patience_ends() -> None:
    patience = Patience(0.3)

    async def wait() -> None:
        while True:
            await patience.wait(refused(Code.UNAVAILABLE))

    with pytest.raises(ServerError):
        asyncio.run(wait())
    assert patience.attempts >= 1


def test_what_went_well_begins_the_waiting_again() -> None:
    patience = Patience(60)
    asyncio.run(patience.wait(refused(Code.UNAVAILABLE)))
    patience.renew()
    assert patience.attempts == 0
