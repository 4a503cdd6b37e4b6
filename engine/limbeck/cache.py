"""Files on disk that are found again by the content that made them: compiled engines, measured profiles.

    root/
      lock                       held by whoever reads or changes anything below
      entries/KEY/meta.json      sizes and SHA-256 of the payload; its time of change is the entry's last use
      entries/KEY/engine.bin …   the payload, under the names it was put
      temporary/                 what is being written; left over only by a process that was killed
      quarantine/KEY-TIME/       entries that were not what their meta.json says, the last few, to look at

An entry appears by one rename after all of it is on the disk, so a reader sees all of it or none, whatever happens to
the writer. Every `get` compares the payload with its digests. A cache can only save time: where the disk is full,
read-only or damaged, `put` and `get` say so in the log, and the caller does the work itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

import platformdirs
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from limbeck.durable import sync_folder
from limbeck.errors import ConfigError

DEFAULT_LIMIT_NBYTES = 10 * 2**30
ROOT_VARIABLE = "LIMBECK_CACHE"
"""The environment variable that names the root, in place of the user's cache folder."""

_META = "meta.json"
_LOCK_SECONDS = 120.0
_NUM_QUARANTINED = 4
_KEY = re.compile(r"[0-9a-f]{16,128}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

Content: TypeAlias = bytes | memoryview | Path
"""What a file of an entry shall hold; a path is a file that is copied."""

_log = logging.getLogger(__name__)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _File(_Strict):
    nbytes: int
    sha256: str


class _Meta(_Strict):
    format: int = 1
    key: str
    about: Mapping[str, JsonValue] = Field(default_factory=dict)
    files: Mapping[str, _File]


class Cache:
    """A folder of entries, shared by any number of processes and threads, that never grows above its limit.

    Args:
        root: Where it lies; None takes `default_root()`. Made by the first `put`.
        limit_nbytes: The most that all payloads take together. The entries that were used least recently make
            room; one that is larger than the limit by itself is not kept.
    """

    uses: ClassVar[Counter[Literal["hit", "miss"]]] = Counter()
    """How often this process found an entry, in any cache, and how often not."""

    def __init__(self, root: Path | None = None, *, limit_nbytes: int = DEFAULT_LIMIT_NBYTES) -> None:
        """Keep the settings; nothing is read or written before the first call."""
        if limit_nbytes < 1:
            raise ConfigError(f"a cache needs a limit of at least one byte, got limit_nbytes={limit_nbytes}")
        self.root = default_root() if root is None else root
        self.limit_nbytes = limit_nbytes

    def get(self, key: str) -> dict[str, Path] | None:
        """The payload's files by name, checked just now; None if there is no such entry.

        An entry that is damaged is moved to the quarantine and counts as missing. The files stay until room is
        needed, and what was got last is the last to go. Not to be changed.

        Raises:
            ConfigError: `key` is not 16 to 128 lowercase hexadecimal digits.
        """
        found = self._found(self._folder(key))
        self.uses["miss" if found is None else "hit"] += 1
        return found

    def _found(self, folder: Path) -> dict[str, Path] | None:
        try:
            if not folder.is_dir():
                return None
            with self._locked():
                return self._checked(folder)
        except OSError as error:
            _log.warning("cache_unreadable root=%s error=%s", self.root, error)
            return None

    def put(self, key: str, files: Mapping[str, Content], *, about: Mapping[str, JsonValue] | None = None) -> bool:
        """Keep `files` under `key`, in place of what was there.

        Args:
            key: 16 to 128 lowercase hexadecimal digits, of everything that decides the content.
            files: Content by file name.
            about: What the key was made of, for people who look into `meta.json`.

        Returns:
            Whether it was kept. It is not if it exceeds the limit or the disk refuses it; the log says which.

        Raises:
            ConfigError: A key or name that cannot be a file's.
        """
        folder = self._folder(key)
        for name in files:
            if not _FILE.fullmatch(name) or name == _META:
                raise ConfigError(f"a cache entry cannot have a file called {name!r}; use letters, digits, . _ and -")
        try:
            needed = sum(_nbytes(content) for content in files.values())
            if needed > self.limit_nbytes:
                _log.warning("cache_entry_too_large key=%s nbytes=%d limit=%d", key, needed, self.limit_nbytes)
                return False
            with self._locked():
                self._clear_temporary()
                self._make_room(needed, keep=folder)
                written = self._write(key, files, about or {})
                self._remove(folder)
                folder.parent.mkdir(exist_ok=True)
                written.rename(folder)
                sync_folder(folder.parent)
        except OSError as error:
            _log.warning("cache_unwritable root=%s key=%s error=%s", self.root, key, error)
            return False
        return True

    @property
    def nbytes(self) -> int:
        """What all payloads take together."""
        if not self.root.is_dir():
            return 0
        with self._locked():
            return sum(_folder_nbytes(entry) for entry in self._entries())

    def _folder(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ConfigError(f"a cache key is 16 to 128 lowercase hexadecimal digits, got {key!r}")
        return self.root / "entries" / key

    def _locked(self) -> FileLock:
        """To be entered. The system frees the lock of a process that dies."""
        self.root.mkdir(parents=True, exist_ok=True)
        return FileLock(self.root / "lock", timeout=_LOCK_SECONDS)

    def _entries(self) -> list[Path]:
        """The entries' folders, the least recently used first."""
        folder = self.root / "entries"
        return sorted(folder.iterdir(), key=_last_use) if folder.is_dir() else []

    def _checked(self, folder: Path) -> dict[str, Path] | None:
        if not folder.is_dir():  # evicted while waiting for the lock
            return None
        damage = _damage(folder)
        if damage is not None:
            self._quarantine(folder, damage)
            return None
        os.utime(folder / _META)
        return {path.name: path for path in sorted(folder.iterdir()) if path.name != _META}

    def _quarantine(self, folder: Path, damage: str) -> None:
        quarantine = self.root / "quarantine"
        quarantine.mkdir(exist_ok=True)
        target = quarantine / f"{folder.name}-{time.time_ns()}"
        folder.rename(target)
        _log.warning("cache_entry_damaged key=%s damage=%r moved_to=%s", folder.name, damage, target)
        oldest_first = sorted(quarantine.iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
        for old in oldest_first[:-_NUM_QUARANTINED]:
            shutil.rmtree(old)

    def _clear_temporary(self) -> None:
        """Under the lock, what is there was left by a process that was killed."""
        temporary = self.root / "temporary"
        if temporary.is_dir():
            shutil.rmtree(temporary)

    def _make_room(self, needed: int, *, keep: Path) -> None:
        """Remove the least recently used until `needed` more bytes fit beside the rest; `keep` will be replaced."""
        others = {entry: _folder_nbytes(entry) for entry in self._entries() if entry != keep}
        used = sum(others.values())
        for entry, nbytes in others.items():
            if used + needed <= self.limit_nbytes:
                return
            self._remove(entry)
            used -= nbytes

    def _write(self, key: str, files: Mapping[str, Content], about: Mapping[str, JsonValue]) -> Path:
        """A complete entry in the temporary folder."""
        folder = self.root / "temporary" / key
        folder.mkdir(parents=True)
        written = {name: _write_synced(folder / name, content) for name, content in files.items()}
        meta = _Meta(key=key, about=about, files=written)
        _write_synced(folder / _META, meta.model_dump_json(indent=2).encode())
        sync_folder(folder)
        return folder

    def _remove(self, folder: Path) -> None:
        """By a rename first: half an entry must never be seen as an entry."""
        if folder.is_dir():
            target = self.root / "temporary" / f"{folder.name}.old"
            target.parent.mkdir(exist_ok=True)
            folder.rename(target)
            shutil.rmtree(target)


def default_root() -> Path:
    """The folder in the environment variable LIMBECK_CACHE, or this user's cache folder of limbeck."""
    named = os.environ.get(ROOT_VARIABLE)
    return Path(named) if named else platformdirs.user_cache_path("limbeck", appauthor=False)


def _damage(folder: Path) -> str | None:
    """What is wrong with an entry; None if it is whole."""
    try:
        meta = _Meta.model_validate_json((folder / _META).read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        return f"{_META}: {error}"
    if meta.key != folder.name:
        return f"{_META} is of {meta.key}"
    if {path.name for path in folder.iterdir()} != {_META, *meta.files}:
        return f"the files are not those that {_META} lists"
    for name, listed in meta.files.items():
        nbytes = (folder / name).stat().st_size
        if nbytes != listed.nbytes:
            return f"{name} has {nbytes} bytes of {listed.nbytes}"
        with (folder / name).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != listed.sha256:
                return f"{name} has another SHA-256"
    return None


def _last_use(folder: Path) -> int:
    meta = folder / _META
    return meta.stat().st_mtime_ns if meta.exists() else 0


def _nbytes(content: Content) -> int:
    return content.stat().st_size if isinstance(content, Path) else memoryview(content).nbytes


def _folder_nbytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.name != _META)


def _write_synced(path: Path, content: Content) -> _File:
    """Write a file, wait until the disk has it, and say its size and digest."""
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        path.write_bytes(content)
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return _File(nbytes=path.stat().st_size, sha256=digest)
