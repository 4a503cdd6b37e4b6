"""Answers of language models on disk, one file each, found again by the content of the question.

    root/
      2f/2f1c….json       the answer with its SHA-256; the name is the SHA-256 of all that decided it
      quarantine/         files that were not what they say, to look at

Unlike engines, answers cost money and cannot be made again bit for bit, so none is ever removed to make room.
"""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from limbeck.cache import default_root
from limbeck.durable import write_whole

_log = logging.getLogger(__name__)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    answer: str
    sha256: str


class AnswerStore:
    """Remembers answers, for any number of threads and processes.

    A disk that is full or read-only costs only the memory: the log says so, and the answer is still given.

    Args:
        root: Where it lies; None is `answers` in limbeck's cache folder.
    """

    def __init__(self, root: Path | None = None) -> None:
        """Keep the place; it is made by the first `put`."""
        self.root = default_root() / "answers" if root is None else root

    def get(self, key: str) -> str | None:
        """The answer under `key`; None if there is none. A damaged file is put aside and counts as none."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("answers_unreadable path=%s error=%s", path, error)
            return None
        damage = None
        try:
            entry = _Entry.model_validate_json(content)
            if entry.key == key and entry.sha256 == _digest(entry.answer):
                return entry.answer
            damage = "it is of another question, or its answer has another SHA-256"
        except ValidationError as error:
            damage = str(error.errors()[0]["msg"])
        self._quarantine(path, damage)
        return None

    def put(self, key: str, answer: str) -> None:
        """Remember `answer` under `key`; when this returns it survives a crash."""
        path = self._path(key)
        entry = _Entry(key=key, answer=answer, sha256=_digest(answer))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / "lock"):  # two processes may have asked the same
                write_whole(path, entry.model_dump_json().encode())
        except OSError as error:
            _log.warning("answers_unwritable path=%s error=%s", path, error)

    def _path(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}.json"

    def _quarantine(self, path: Path, damage: str) -> None:
        target = self.root / "quarantine" / f"{path.stem}-{time.time_ns()}.json"
        try:
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
        except OSError as error:
            _log.warning("answers_unwritable path=%s error=%s", path, error)
        _log.warning("answer_damaged path=%s damage=%r moved_to=%s", path, damage, target)


def _digest(answer: str) -> str:
    return hashlib.sha256(answer.encode("utf-8", "surrogatepass")).hexdigest()
