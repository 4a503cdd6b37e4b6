"""`limbeck.client`: what talks to a limbeck server; see `limbeck_server.client`, whose names these are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import limbeck_server.client as _client
from limbeck_server.client import __all__ as __all__

if TYPE_CHECKING:
    from limbeck_server.client import *  # noqa: F403


def __getattr__(name: str) -> Any:
    return getattr(_client, name)
