"""Patience: how long and how often something that failed is tried again."""

from __future__ import annotations

import asyncio
import logging
import random
import time

from limbeck_server.client.errors import ServerError

_FIRST_SECONDS = 0.1
_MOST_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Patience:
    """Waits between attempts, longer each time, until `seconds` have passed since it was made or renewed."""

    def __init__(self, seconds: float) -> None:
        """Patience for so long."""
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Something went well: begin again."""
        self._attempts = 0
        self._end = time.monotonic() + self._seconds

    @property
    def attempts(self) -> int:
        """How often it was waited."""
        return self._attempts

    @property
    def left_seconds(self) -> float:
        """How long it lasts yet."""
        return max(0.0, self._end - time.monotonic())

    async def wait(self, error: ServerError) -> None:
        """Wait until the call that ended in `error` may be repeated.

        Raises:
            ServerError: `error` itself, if repeating it does not help or would come too late.
        """
        # The exponent is bounded: a float has none above 1023.
        most = min(_MOST_SECONDS, _FIRST_SECONDS * 2 ** min(self._attempts, 16))
        # Jitter: clients that lost the same server do not come back at the same moment.
        delay = max(random.uniform(most / 2, most), error.retry_seconds or 0.0)
        if not error.is_transient or delay >= self.left_seconds:
            raise error
        self._attempts += 1
        _log.info("call_retried attempt=%d delay=%.2f reason=%s: %s", self._attempts, delay, error.reason, error)
        await asyncio.sleep(delay)
