"""Captions of real images in a file: `metadata.jsonl`, a JSON object a line, as `datasets` reads and EDITS published.

    {"file_name": "n02086240/n02086240_1059.JPEG", "text": "a Shih-Tzu on a red sofa"}

`file_name` is the image's name in its source, relative to the folder that is distilled. Other keys are left alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from limbeck.durable import disk_errors_explained, write_whole
from limbeck.errors import DataError

_SHOWN = 5
_FORM = '{"file_name": "class/image.jpg", "text": "what it shows"}'


@dataclass(frozen=True)
class Captions:
    """What images show, by name.

    Args:
        location: The file's name, for errors.
        texts: Caption by image name.
        sha256: Of the file.
    """

    location: str
    texts: Mapping[str, str]
    sha256: str

    def of(self, names: Sequence[str]) -> tuple[str, ...]:
        """The caption of each.

        Raises:
            DataError: Some have none; they are named.
        """
        missing = [name for name in names if name not in self.texts]
        if missing:
            shown = "".join(f"\n  {name}" for name in missing[:_SHOWN])
            more = f"\n  … and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            has = ", ".join(repr(name) for name in islice(self.texts, 2)) or "none at all"
            raise DataError(
                f"{self.location} has no caption for {len(missing)} of {len(names)} images:{shown}{more}\n"
                f"it has captions for {len(self.texts)}, such as {has}; names must be equal, so add these lines, or "
                "give the folder that the names are relative to"
            )
        return tuple(self.texts[name] for name in names)


def read_captions(path: str | Path) -> Captions:
    """Read a file of captions.

    Raises:
        DataError: It cannot be read, a line is no object with `file_name` and `text`, a text is empty, or an image
            has two different ones; with the line's number.
    """
    try:
        content = Path(path).read_bytes()
        lines = content.decode("utf-8").split("\n")
    except OSError as error:
        raise DataError(f"captions {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"captions {path} are not UTF-8: {error}") from error
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, text = _row(line, f"{path}, line {number}")
        if texts.setdefault(name, text) != text:
            raise DataError(f"{path}, line {number}: {name!r} has another caption further up; leave one of them")
    return Captions(Path(path).name, texts, hashlib.sha256(content).hexdigest())


def write_captions(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write a file of captions, whole or not at all.

    Args:
        path: The file; it is replaced.
        rows: Image name and caption.

    Raises:
        OutputError: The disk refuses it.
    """
    lines = [json.dumps({"file_name": name, "text": text}, ensure_ascii=False) for name, text in rows]
    content = "".join(f"{line}\n" for line in lines).encode("utf-8")
    with disk_errors_explained(path.parent, len(content)):
        write_whole(path, content)


def _row(line: str, place: str) -> tuple[str, str]:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place} is no JSON ({error}): {line[:80]!r}\na line that works: {_FORM}") from error
    for key in ("file_name", "text"):
        found = row.get(key) if isinstance(row, dict) else None
        if not (isinstance(found, str) and found.strip()):
            raise DataError(f"{place} has no {key}, or an empty one: {line[:80]!r}\na line that works: {_FORM}")
    return row["file_name"], " ".join(row["text"].split())
