"""How many streams each caller holds open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from limbeck_server.trust.identity import Identity


class TooManyStreams(Exception):
    """The caller has as many streams open as it may; `limit` says how many."""

    def __init__(self, limit: int) -> None:
        """Keep the limit."""
        super().__init__(limit)
        self.limit = limit


class Streams:
    """Counts the open streams of every caller.

    Args:
        default_limit: For callers whose token gives none, and for each of all callers together where there are no
            tokens.
    """

    def __init__(self, default_limit: int = 1000) -> None:
        self._default_limit = default_limit
        self._open: Counter[str] = Counter()

    @property
    def num_open(self) -> int:
        """Of all callers."""
        return self._open.total()

    @contextmanager
    def one(self, identity: Identity) -> Iterator[None]:
        """Hold one stream open.

        Raises:
            TooManyStreams: The caller has as many as it may.
        """
        limit = identity.quotas.max_streams
        limit = self._default_limit if limit is None else limit
        if self._open[identity.name] >= limit:
            raise TooManyStreams(limit)
        self._open[identity.name] += 1
        try:
            yield
        finally:
            self._open[identity.name] -= 1
            if not self._open[identity.name]:
                del self._open[identity.name]
