"""`python -m limbeck_server.workers`: one worker process, started by the front."""

from __future__ import annotations

import argparse
import logging
import os
import signal
from pathlib import Path

from limbeck_server.mortal import die_with_parent
from limbeck_server.operations.logs import configure_logging, log_fields
from limbeck_server.workers.link import FrontGone, FrontLink
from limbeck_server.workers.worker import Worker


def main() -> None:
    """Connect to the front and work until it says exit or is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True, help="the front's Unix socket")
    parser.add_argument("--worker", required=True, help="the id that the front gave")
    parser.add_argument("--device", required=True, help="what it runs on")
    parser.add_argument("--root", required=True, type=Path, help="the server's folder")
    parser.add_argument("--parent", required=True, type=int, help="the front's process")
    options = parser.parse_args()
    die_with_parent(options.parent)
    # Ctrl-C in a terminal goes to the whole group; only the front decides when its workers end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with FrontLink(options.socket, worker=options.worker, device=options.device, pid=os.getpid()) as link:
        try:
            config = link.config()
            configure_logging(config.log_format)
            with log_fields(worker=options.worker):
                Worker(link, options.root, config).run()
        except FrontGone as error:
            logging.getLogger(__name__).info("worker_ends reason=%s", error)


main()
