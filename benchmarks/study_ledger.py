"""The finished cells of a study, a JSON line each: what is in the file is done, whenever the study is stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Ledger:
    """Finished cells by key.

    A line that a killed run left unfinished is no cell; the next line begins on a line of its own.

    Args:
        path: The file; made with the first cell.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cells: dict[str, Mapping[str, Any]] = {}
        self._torn = False
        text = path.read_text() if path.exists() else ""
        for line in text.splitlines(keepends=True):
            try:
                cell = json.loads(line)
            except json.JSONDecodeError:
                continue
            self.cells[cell["key"]] = cell
        self._torn = bool(text) and not text.endswith("\n")

    def __contains__(self, key: str) -> bool:
        return key in self.cells

    def add(self, cell: Mapping[str, Any]) -> None:
        """Write a finished cell; it is on disk when this returns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as stream:
            stream.write(("\n" if self._torn else "") + json.dumps(cell) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._torn = False
        self.cells[cell["key"]] = cell
