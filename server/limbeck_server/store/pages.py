"""Pages of a long list: the opaque text that asks for the next one."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from limbeck.errors import ConfigError

FIRST = 2**63 - 1
"""Above every number, for lists that begin with the newest."""

_DIGEST_DIGITS = 12

Record = TypeVar("Record")


def page_of(
    rows: Sequence[sqlite3.Row], limit: int, query: Sequence[Any], record: Callable[[sqlite3.Row], Record]
) -> tuple[list[Record], str]:
    """What is shown of `limit` + 1 rows, and the text that asks for those behind them ("" if there are none).

    Args:
        rows: As the ledger gave them; the one above the limit only tells that there is more.
        limit: The most that are shown.
        query: What was asked, so that the text is not taken for another question.
        record: What a row is shown as.
    """
    shown = [record(row) for row in rows[:limit]]
    if len(rows) <= limit:
        return shown, ""
    last = rows[limit - 1]["number"]
    return shown, base64.urlsafe_b64encode(f"{_digest(query)}{last}".encode()).decode()


def number_before(text: str, query: Sequence[Any]) -> int:
    """The number that all rows of the page lie below.

    Raises:
        ConfigError: The text is not one that this query gave.
    """
    if not text:
        return FIRST
    try:
        digest, number = _split(base64.b64decode(text.encode(), altchars=b"-_", validate=True).decode())
        if digest == _digest(query) and 0 < number <= FIRST:
            return number
    except ValueError:  # not base64, not text, not a number
        pass
    raise ConfigError(f"{text[:100]!r} is no page token of this list with these filters; use the last page's, or none")


def _split(text: str) -> tuple[str, int]:
    return text[:_DIGEST_DIGITS], int(text[_DIGEST_DIGITS:])


def _digest(query: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(query).encode()).hexdigest()[:_DIGEST_DIGITS]
