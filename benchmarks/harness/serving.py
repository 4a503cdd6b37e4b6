"""`limbeck serve` as a process to be loaded, killed and measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

_START_SECONDS = 120.0


class Served:
    """A server on `root`; by `with` it is started and ended.

    Args:
        root: Its folder.
        settings: Of its TOML file.
    """

    def __init__(self, root: Path, **settings: Any) -> None:
        """Start nothing yet."""
        self.root = root
        self.address = ""
        self._config = root.with_name(f"{root.name}.toml")
        given = {"root": str(root), "address": "127.0.0.1:0", "metrics_address": "127.0.0.1:0", **settings}
        self._config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items()))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(60)

    def start(self) -> None:
        """Start it, at the address where it was before, and wait until it serves."""
        command = [sys.executable, "-m", "limbeck_server.cli", "serve", "--config", str(self._config)]
        if self.address:
            command += ["--address", self.address]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
        self._ready = threading.Event()
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        if not self._ready.wait(_START_SECONDS):
            raise RuntimeError("the server did not start")

    def kill(self) -> None:
        """kill -9 the front; its workers die with it."""
        self._process.kill()
        self._process.wait()

    def front(self) -> psutil.Process:
        """The front's process."""
        return psutil.Process(self._process.pid)

    def workers(self) -> list[psutil.Process]:
        """Its workers' processes."""
        return [one for one in self.front().children() if "limbeck_server.workers" in " ".join(one.cmdline())]

    def resident_nbytes(self) -> tuple[int, int]:
        """Resident memory of the front, and of its workers together."""
        workers = 0
        with suppress(psutil.NoSuchProcess):
            workers = sum(one.memory_info().rss for one in self.workers())
        return self.front().memory_info().rss, workers

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        serving = worker = False
        for line in process.stderr:
            with suppress(json.JSONDecodeError, AttributeError):
                told = json.loads(line)
                if told.get("event") == "server_ready":
                    self.address, serving = told["address"], True
                worker = worker or told.get("event") == "worker_ready"
            if serving and worker:
                self._ready.set()


def settled(seconds: float = 2.0) -> None:
    """Let a process come to rest before it is measured."""
    time.sleep(seconds)
