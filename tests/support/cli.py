"""The `limbeck` command as a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "limbeck_server.cli")
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "120", "NO_COLOR": "1"}


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON objects that `--json` printed, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        """The last event, which must be an error."""
        assert self.events, self.err
        assert self.events[-1]["event"] == "error", self.out
        return self.events[-1]


def limbeck(*arguments: str | Path, environment: Mapping[str, str] = ENVIRONMENT, timeout: float = 240) -> Done:
    """Run the command to its end."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, env=dict(environment)
    )
    return Done(done.returncode, done.stdout, done.stderr)


def start(*arguments: str | Path, environment: Mapping[str, str] = ENVIRONMENT) -> subprocess.Popen[str]:
    """Start the command; its output is read line by line from `stdout`."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(environment),
    )


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes; of a distilled set's manifest, all but the memory that its run took."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    if "manifest.json" in files:
        manifest = json.loads(files["manifest.json"])
        manifest.pop("memory", None)
        files["manifest.json"] = json.dumps(manifest).encode()
    return files


def wait_for(process: subprocess.Popen[str], reached: Sequence[tuple[str, object]]) -> None:
    """Read events until one has all these fields."""
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if all(event.get(name) == value for name, value in reached):
            return
    raise AssertionError(f"ended before {reached}: {process.stderr.read() if process.stderr else ''}")
