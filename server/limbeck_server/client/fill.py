"""`python -m limbeck_server.client.fill`: fills an image cache while its job runs; started by `following`.

It is a process of its own because its parent may be a forked one, such as a DataLoader's worker, and gRPC does not
survive a fork. Standard input brings the order, pickled, and its end means that the parent is gone; standard output
takes what went wrong, pickled, or None.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import sys
import threading

from filelock import FileLock, Timeout

from limbeck.errors import LimbeckError
from limbeck_server.client.aio import AsyncClient
from limbeck_server.client.connection import Connection
from limbeck_server.client.errors import StateError
from limbeck_server.client.image_cache import ImageCache

_PREPARED_SECONDS = 0.5

_log = logging.getLogger(__name__)


async def fill(connection: Connection, job: str, cache: ImageCache) -> None:
    """Fill a cache to its end; nothing is done if another process does.

    Raises:
        ServerError: The server refused, or was away for too long.
        OutputError: The disk is full or refuses.
    """
    try:
        lock = FileLock(cache.lock).acquire(timeout=0)
    except Timeout:
        return
    with lock:
        if cache.end() is None:
            async with AsyncClient(connection) as client:
                await _fetch(client, job, cache)


async def _fetch(client: AsyncClient, job: str, cache: ImageCache) -> None:
    last = cache.repair()
    _log.info("cache_filling job=%s folder=%s after=%d", job, cache.folder, last)
    found = await client.job(job)
    while not found.num_images and not found.is_final:
        await asyncio.sleep(_PREPARED_SECONDS)
        found = await client.job(job)
    cache.begin(found.num_images)
    try:
        async for image in client.images(job, after=last):
            cache.add(image)
    except StateError as error:
        cache.finish(str(error))
    else:
        cache.finish()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Fill the cache that standard input names."""
    connection, job, folder = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    found: LimbeckError | None = None
    try:
        asyncio.run(fill(connection, job, ImageCache(folder)))
    except LimbeckError as error:
        found = error
    sys.stdout.buffer.write(pickle.dumps(found))
    sys.stdout.buffer.flush()
    # The thread waits for the parent; nothing else is left to end.
    os._exit(0)


if __name__ == "__main__":
    main()
