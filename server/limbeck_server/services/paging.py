"""Pages of lists: how long they are, and the lists that the ledger does not page itself."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from limbeck.errors import ConfigError
from limbeck_server.wire.refusal import RequestError, Violation

MAX_PAGE_SIZE = 1000


def page_size(asked: int, default: int = 50) -> int:
    """How many entries a page has: what was asked up to a limit, `default` where nothing was.

    Raises:
        RequestError: A negative number was asked.
    """
    if asked < 0:
        raise RequestError(Violation("page_size", f"it must be at least 0 (which means {default}), got {asked}"))
    return min(asked or default, MAX_PAGE_SIZE)


@contextmanager
def token_refused() -> Iterator[None]:
    """The ledger's refusal of a page token, as a violation of that field."""
    try:
        yield
    except RequestError:
        raise
    except ConfigError as error:
        raise RequestError(Violation("page_token", str(error))) from error


def page_after(keys: Sequence[str], size: int, token: str) -> tuple[Sequence[str], str]:
    """A page of sorted keys, and the token that asks for the next ("" after the last).

    It says after which key it goes on, so that nothing is shown twice or left out when keys come or go.

    Raises:
        RequestError: The token is none.
    """
    first = bisect_right(keys, _key(token)) if token else 0
    page = keys[first : first + size]
    more = first + size < len(keys)
    return page, base64.urlsafe_b64encode(page[-1].encode()).decode() if more else ""


def _key(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        refused = Violation(
            "page_token", f"{token[:100]!r} is no page token of this list; use the last page's, or none"
        )
        raise RequestError(refused) from None
