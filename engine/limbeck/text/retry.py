"""Asking again what may pass by itself, with growing pauses or those that the other side asks for."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from limbeck.errors import EndpointError

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


class Again(Exception):
    """An attempt failed in a way that may pass; `retry_after` is what the other side's header of that name said."""

    def __init__(self, reason: str, *, retry_after: str | None = None) -> None:
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(reason)


@dataclass(frozen=True)
class Pauses:
    """How long to wait between attempts, in seconds: `first`, twice that, …, never more than `longest`."""

    first: float
    longest: float

    def after(self, attempt: int, asked_for: float | None) -> float:
        """The pause after the `attempt`-th failure, counted from 1.

        What was asked for is kept to, and else half of the pause is random: clients that failed together must not come
        back together. No result depends on that, so it is not drawn from the job's seed.
        """
        own = min(self.longest, self.first * 2 ** (attempt - 1))
        jittered = own * random.uniform(0.5, 1)
        return jittered if asked_for is None else max(asked_for, 0.0)


def with_retries(
    attempt: Callable[[], _Answer], *, attempts: int, pauses: Pauses, sleep: Callable[[float], object], asked: str
) -> _Answer:
    """What `attempt` returns, once it does not raise `Again`.

    Args:
        attempt: Called until it returns, or raises anything else.
        attempts: How often at most.
        pauses: What to wait in between.
        sleep: Waits.
        asked: What was asked, for the error.

    Raises:
        EndpointError: Every attempt failed, or the pause that is asked for is longer than the longest.
    """
    for number in range(1, attempts + 1):
        try:
            return attempt()
        except Again as error:
            reason, wished = error.reason, seconds_of(error.retry_after)
        if wished is not None and wished > pauses.longest:
            raise EndpointError(
                f"{asked} was not answered: {reason}\nit asks to wait {wished:.0f} s, longest_pause_seconds is "
                f"{pauses.longest:g}; come back later, what was answered is kept"
            )
        if number < attempts:
            pause = pauses.after(number, wished)
            _log.info("endpoint_asked_again attempt=%d pause_seconds=%.1f reason=%s", number, pause, reason)
            sleep(pause)
    raise EndpointError(
        f"{asked} was not answered in {attempts} attempt(s), the last time because {reason}\n"
        "what was answered before is kept: the same command continues when the endpoint is well again"
    )


def seconds_of(retry_after: str | None) -> float | None:
    """What a Retry-After header asks for in seconds, by number or date (RFC 9110, 10.2.3); None if it says nothing."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max((then - datetime.now(UTC)).total_seconds(), 0.0)
