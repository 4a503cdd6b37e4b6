"""The folder a distilled set grows in, `.<name>.partial` beside its place, and how a killed run continues there.

    .distilled.partial/
      lock           held by the one process that writes
      header.json    every setting that decides the result; a resumed run must have the same
      staging/       the unit being written
      set/           what becomes the distilled set
        train/<class folder>/0000.png
      units/000003.arrays  what unit 3 has beside images, if it has something
      units/000003.json    written last: unit 3 is whole
      checkpoints/000004.state  what unit 4, which takes long, had reached

A unit's class folders are renamed out of `staging`, then its record is written. A class folder without a record is
what a killed run left of a unit; it is removed, and the unit made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from limbeck.data.arrays_file import NamedArrays, sealed, unsealed
from limbeck.durable import disk_errors_explained, disk_nbytes, sync_folder, write_synced, write_whole
from limbeck.errors import DataError, OutputError

Row = Mapping[str, Any]
"""What metadata.jsonl says of one image; `file_name` is `<class folder>/<file>`."""
OnImage = Callable[[int, int], None]
"""Told how many images of how many are done; it may raise to stop."""

_log = logging.getLogger(__name__)


class PartialSet:
    """A distilled set that is not finished, locked for this process until `publish` or `close`."""

    def __init__(self, out: Path, lock: FileLock) -> None:
        """Use `PartialSet.start`."""
        self.folder = partial_folder(out)
        self.set_folder = self.folder / "set"
        self._out = out
        self._lock = lock
        self._units: dict[int, tuple[Row, ...]] = {}
        self._arrays: dict[int, NamedArrays] = {}

    @classmethod
    def start(cls, out: Path, header: Mapping[str, Any], *, resume: bool) -> PartialSet:
        """Make the partial folder of `out`, or continue the one that is there.

        Args:
            out: Where the set goes in the end.
            header: JSON values that decide the result; `class_folders` among them.
            resume: Continue what is there; with nothing there, it starts afresh. So it does, with or without
                `resume`, where no unit is finished and none has a checkpoint.

        Raises:
            OutputError: `out` exists, a partial folder with units exists and `resume` is False, another process
                writes in it, it was started with another header, it is damaged, or the disk refuses.
        """
        folder = partial_folder(out)
        refuse_taken(out, resume=resume)
        with disk_errors_explained(out.parent, needed_nbytes=0):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / "lock")
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise OutputError(f"another process is writing {out}, in {folder}; wait for it or stop it") from error
        partial = cls(out, lock)
        try:
            refuse_taken(out, resume=resume)  # the other process may have finished in between
            partial._adopt(header)
        except BaseException:
            partial.close()
            raise
        return partial

    @property
    def units(self) -> Mapping[int, tuple[Row, ...]]:
        """The rows of every unit that is whole."""
        return self._units

    @property
    def arrays(self) -> Mapping[int, NamedArrays]:
        """What whole units have beside images, by unit."""
        return self._arrays

    def store(
        self,
        unit: int,
        files: Mapping[str, bytes],
        rows: Sequence[Row],
        arrays: NamedArrays | None = None,
        *,
        on_image: OnImage = lambda done, total: None,
    ) -> None:
        """Write a unit, whole or not at all.

        Args:
            unit: Its index.
            files: The images by `file_name`. No other unit has images in the same class folders.
            rows: Their rows, with `file_name` and `sha256`.
            arrays: What it has beside images.
            on_image: Called after each; it may raise to stop.

        Raises:
            OutputError: The disk is full or refuses. What was written of this unit is removed, as it is if `on_image`
                raises.
        """
        staging, train = self.folder / "staging", self.set_folder / "train"
        class_folders = sorted({name.split("/")[0] for name in files})
        with disk_errors_explained(self.folder, disk_nbytes(files)):
            try:
                staging.mkdir()
                for class_folder in class_folders:
                    (staging / class_folder).mkdir()
                for number, (name, content) in enumerate(files.items(), 1):
                    write_synced(staging / name, content)
                    on_image(number, len(files))
                for class_folder in class_folders:
                    sync_folder(staging / class_folder)
                    (staging / class_folder).rename(train / class_folder)
                sync_folder(train)
                staging.rmdir()
                if arrays:
                    write_whole(self._beside(unit), sealed(arrays))
                write_whole(self._record(unit), _dump({"unit": unit, "rows": list(rows), "arrays": bool(arrays)}))
            except BaseException:
                self._remove_torn()
                raise
        self._units[unit] = tuple(rows)
        if arrays:
            self._arrays[unit] = arrays
        self._checkpoint(unit).unlink(missing_ok=True)

    def store_checkpoint(self, unit: int, state: NamedArrays) -> None:
        """Keep what a unit has reached, in place of what was kept of it before."""
        folder, content = self.folder / "checkpoints", sealed(state)
        with disk_errors_explained(self.folder, disk_nbytes({"checkpoint": content})):
            folder.mkdir(exist_ok=True)
            write_whole(self._checkpoint(unit), content)

    def checkpoint(self, unit: int) -> NamedArrays | None:
        """What was kept of a unit that is not whole; None if nothing was, or the file is damaged."""
        path = self._checkpoint(unit)
        if unit in self._units or not path.is_file():
            return None
        try:
            return unsealed(path.read_bytes())
        except (DataError, OSError) as error:
            _log.warning("checkpoint_damaged unit=%d: %s; the unit begins again", unit, error)
            return None

    def publish(self) -> None:
        """Move the set to its place, which must not exist, and remove the partial folder."""
        with disk_errors_explained(self._out.parent, needed_nbytes=0):
            _refuse_existing(self._out)
            self.set_folder.rename(self._out)
            sync_folder(self._out.parent)
        self.close()
        # The set is whole and in its place; what cannot be removed is only untidy.
        _remove_leftovers(self.folder)

    def close(self) -> None:
        """Release the lock; what is finished stays for a resumed run."""
        self._lock.release()

    def _adopt(self, header: Mapping[str, Any]) -> None:
        path = self.folder / "header.json"
        with disk_errors_explained(self.folder, needed_nbytes=0):
            for folder in (self.set_folder / "train", self.folder / "units"):
                folder.mkdir(parents=True, exist_ok=True)
            torn = []
            for record in sorted((self.folder / "units").glob("*.json")):
                try:
                    unit, rows, arrays = self._read_unit(record, header["class_folders"])
                    self._units[unit] = rows
                    if arrays:
                        self._arrays[unit] = arrays
                except (DataError, OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                    torn.append((record, error))
            if self._units or _entries(self.folder / "checkpoints"):
                _refuse_other_header(self.folder, _read_header(path), header)
            else:
                write_whole(path, _dump(header))
            for record, reason in torn:
                _log.warning("unit_torn record=%s: %s", record.name, reason)
                record.unlink()
            self._remove_torn()
        _log.info("partial_set_opened folder=%s finished_units=%d", self.folder, len(self._units))

    def _read_unit(self, record: Path, class_folders: Sequence[str]) -> tuple[int, tuple[Row, ...], NamedArrays]:
        """The unit of a record, its rows and arrays; any of the errors of a damaged file if it is not whole."""
        content = json.loads(record.read_bytes())
        unit, rows = content["unit"], tuple(content["rows"])
        if type(unit) is not int or record != self._record(unit):
            raise ValueError(f"it says that it is unit {unit}")
        if not rows:
            raise ValueError("it has no rows")
        for row in rows:
            label, (folder, file) = row["label"], row["file_name"].split("/")
            if type(label) is not int or label < 0 or folder != class_folders[label] or file in ("", ".", ".."):
                raise ValueError(f"{row['file_name']} is no image of label {label}")
            image = (self.set_folder / "train" / folder / file).read_bytes()
            if hashlib.sha256(image).hexdigest() != row["sha256"]:
                raise ValueError(f"{row['file_name']} is not what the record says")
        return unit, rows, unsealed(self._beside(unit).read_bytes()) if content["arrays"] else {}

    def _remove_torn(self) -> None:
        """Remove what this or a killed run wrote of units that have no record."""
        shutil.rmtree(self.folder / "staging", ignore_errors=True)
        whole = {row["file_name"].split("/")[0] for rows in self._units.values() for row in rows}
        for class_folder in (self.set_folder / "train").iterdir():
            if class_folder.is_dir() and class_folder.name not in whole:
                shutil.rmtree(class_folder)

    def _beside(self, unit: int) -> Path:
        return self.folder / "units" / f"{unit:06d}.arrays"

    def _checkpoint(self, unit: int) -> Path:
        return self.folder / "checkpoints" / f"{unit:06d}.state"

    def _record(self, unit: int) -> Path:
        return self.folder / "units" / f"{unit:06d}.json"


def partial_folder(out: Path) -> Path:
    """Where a set that will be `out` grows."""
    return out.with_name(f".{out.name}.partial")


def refuse_taken(out: Path, *, resume: bool) -> None:
    """Refuse a place where a set lies, or where an unfinished one grows that should not be continued.

    Raises:
        OutputError: With what to do. A caller may ask early, before work that would be in vain.
    """
    folder = partial_folder(out)
    with disk_errors_explained(out.parent, needed_nbytes=0):
        if resume and _is_published(out):
            _remove_leftovers(folder)
            raise OutputError(f"{out} exists: the set is finished and whole, and nothing is left to resume")
        _refuse_existing(out)
        if _exists(folder) and not resume and not _holds_nothing(folder):
            raise OutputError(
                f"an earlier run to {out} was not finished: {folder}\n"
                "continue it with --resume, or remove that folder to start again"
            )


def _refuse_existing(out: Path) -> None:
    if _exists(out):
        raise OutputError(f"{out} exists, and limbeck never writes over anything; give another --out, or move it away")


def _is_published(out: Path) -> bool:
    """Whether a run was killed between moving its set to `out` and removing what is left of the partial folder."""
    folder = partial_folder(out)
    return (out / "manifest.json").is_file() and folder.is_dir() and not _exists(folder / "set")


def _remove_leftovers(folder: Path) -> None:
    """Remove what a set that was moved to its place left behind; what cannot be removed is only untidy."""
    for name in ("units", "checkpoints"):
        shutil.rmtree(folder / name, ignore_errors=True)
    with suppress(OSError):
        for name in ("header.json", "lock"):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _exists(path: Path) -> bool:
    """Whether something is there, be it a link to nowhere."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _holds_nothing(folder: Path) -> bool:
    """Whether a partial folder has no more than a run makes before its first unit is finished."""
    return (
        _entries(folder) <= {"lock", "header.json", ".header.json.tmp", "staging", "set", "units", "checkpoints"}
        and _entries(folder / "set") <= {"train"}
        and not _entries(folder / "set" / "train")
        and not _entries(folder / "units")
        and not _entries(folder / "checkpoints")
    )


def _entries(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if _exists(folder) else set()


def _read_header(path: Path) -> Mapping[str, Any]:
    try:
        header = json.loads(path.read_bytes())
        if not isinstance(header, dict):
            raise ValueError("it is no JSON object")
    except (FileNotFoundError, ValueError) as error:
        raise OutputError(
            f"{path} is damaged: {error}\nits run cannot be continued; remove {path.parent} to start again"
        ) from error
    return header


def _refuse_other_header(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    before, now = _flat(old), _flat(new)
    changed = [
        f"  {key}: it was {_shown(before, key)}, now {_shown(now, key)}"
        for key in sorted({*before, *now})
        if _shown(before, key) != _shown(now, key)
    ]
    if changed:
        raise OutputError(
            f"{folder} was started with other settings:\n"
            + "\n".join(changed)
            + "\nresume with the old settings, or give another --out"
        )


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {key: value}
    return {k: v for name, item in value.items() for k, v in _flat(item, f"{key}.{name}" if key else name).items()}


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return json.dumps(settings[key]) if key in settings else "not set"


def _dump(value: object) -> bytes:
    return f"{json.dumps(value, indent=2)}\n".encode()
