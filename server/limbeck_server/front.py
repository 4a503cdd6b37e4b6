"""`python -m limbeck_server.front SETTINGS`: the server's front, which `limbeck serve` becomes.

A process of its own, without what a command line loads: the front is the part that stays, and should be small.
"""

from __future__ import annotations

import asyncio
import sys

from limbeck.errors import LimbeckError
from limbeck.memory.process import keep_heap_small
from limbeck_server.app import Server
from limbeck_server.operations.logs import configure_logging
from limbeck_server.settings import ServerSettings


def main() -> None:
    """Serve with the settings that are given as JSON, until SIGTERM; errors end with the exit code of their kind."""
    keep_heap_small()
    settings = ServerSettings.model_validate_json(sys.argv[1])
    configure_logging(settings.log_format)
    try:
        asyncio.run(_serve(settings))
    except LimbeckError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


async def _serve(settings: ServerSettings) -> None:
    await Server(settings).run()


if __name__ == "__main__":
    main()
