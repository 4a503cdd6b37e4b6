"""The dataset service as a process of its own, which a test may kill.

`python dataset_server.py FOLDER MAX_FILE_NBYTES` prints its port when it serves.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limbeck_server.datasets.limits import DatasetLimits
from limbeck_server.datasets.sweep import sweep

TESTS = Path(__file__).resolve().parents[1]


@contextmanager
def dataset_server(folder: Path, *, max_file_nbytes: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server on `folder`, and its port; no file of it can be longer than `max_file_nbytes`, if that is not 0."""
    command = [sys.executable, __file__, str(folder), str(max_file_nbytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


async def serve(folder: Path) -> None:
    from support.uploads import dataset_desk

    limits = DatasetLimits(reserve_nbytes=0, sync_nbytes=64 * 1024)
    async with dataset_desk(folder, limits=limits) as desk:
        await desk.backing.do(lambda store: sweep(store, desk.folders))
        await desk.checker.resume()
        print(desk.backing.address.rpartition(":")[2], flush=True)
        await desk.backing.server.wait_for_termination()


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    if limit := int(sys.argv[2]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    asyncio.run(serve(Path(sys.argv[1])))
