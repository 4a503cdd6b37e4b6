"""`python -m limbeck_server.operations.healthcheck [ADDRESS] [SERVICE]`: exit code 0 if a server serves, 1 if not.

The address and certificates come from the environment where they are not given (`probe.door_from_environment`). A
server on the same machine needs neither: the certificate that it shows is believed, and health asks for no token.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from limbeck.errors import ConfigError
from limbeck_server.operations.probe import door_from_environment, health, shown_by


def main(arguments: Sequence[str]) -> int:
    """Ask once, say the answer on stdout, and return the exit code."""
    address, service = (*arguments, "", "")[:2]
    try:
        door = door_from_environment(address)
        with door.channel(shown_by(door.address)) as channel:
            answer = health(channel, service)
    except ConfigError as error:
        answer = str(error)
    sys.stdout.write(f"{service or 'server'}: {answer}\n")
    return 0 if answer == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
