"""Worker processes, started."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path


async def spawn(worker: str, *, device: str, socket: Path, root: Path) -> asyncio.subprocess.Process:
    """Start a worker.

    Args:
        worker: Its id, by which the front knows its stream.
        device: What it runs on.
        socket: Where it reaches the front.
        root: The server's folder.
    """
    # -m starts an interpreter of its own: gRPC and CUDA do not survive a fork
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # nothing is imported from the folder that the server happens to stand in
        "-m",
        "limbeck_server.workers",
        f"--socket={socket}",
        f"--worker={worker}",
        f"--device={device}",
        f"--root={root}",
        f"--parent={os.getpid()}",
        stdin=asyncio.subprocess.DEVNULL,
        env=_environment(device),
    )


def _environment(device: str) -> Mapping[str, str]:
    """A worker sees the one device that it runs on."""
    kind, _, number = device.partition(":")
    visible = number if kind == "cuda" else ""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": visible}
