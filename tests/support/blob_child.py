"""A process that puts blobs until it is killed, and says each address after it was told.

    python blob_child.py FOLDER SEED [--asked]

With --asked it puts one for each line that it is sent. Every third is put in chunks, and all children put the same
contents, so that they meet.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from limbeck_server.store.blobs import Blobs


def main() -> None:
    """Work without end."""
    blobs, chosen = Blobs(Path(sys.argv[1])), random.Random(int(sys.argv[2]))
    while "--asked" not in sys.argv or sys.stdin.readline():
        number = chosen.randrange(50)
        content = f"{number} ".encode() * 20_000
        middle = len(content) // 2
        digest = blobs.put_stream([content[:middle], content[middle:]]) if number % 3 == 0 else blobs.put(content)
        print(digest, flush=True)


if __name__ == "__main__":
    main()
