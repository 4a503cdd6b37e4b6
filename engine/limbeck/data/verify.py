"""Checks a distilled set against its own digests; nothing outside its folder is read."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path

from limbeck.data.decode import decode
from limbeck.data.layout import MANIFEST, METADATA, read_manifest, read_rows
from limbeck.data.naming import escaped
from limbeck.data.partial import OnImage
from limbeck.errors import DataError, UnreadableImagesError

_SHOWN_PROBLEMS = 50


def verify_distilled(folder: str | Path, *, on_image: OnImage = lambda done, total: None) -> int:
    """Check everything: digests, counts, that every image decodes, that nothing else lies in the set.

    Args:
        folder: The set.
        on_image: Called before each; it may raise to stop.

    Returns:
        The number of images.

    Raises:
        DataError: With every problem that was found, one a line.
    """
    root = Path(folder)
    files: set[str] = set()
    folders: set[str] = set()
    odd: list[str] = []
    try:
        if root.is_dir():
            _walk(root, "", files, folders, odd)
    except OSError as error:
        raise DataError(f"{error.filename} cannot be listed: {error.strerror or error}") from error
    strange = [f"{escaped(name)}: it is a link, or neither a file nor a folder" for name in sorted(odd)]
    if {MANIFEST, METADATA, "train"} & set(odd):
        _refuse(root, strange)
    manifest = read_manifest(root)
    problems = [
        f"{name}: it is missing, or not what the manifest says"
        for name, digest in manifest.files.items()
        if name not in files or _digest(root / name) != digest
    ]
    rows = read_rows(root, manifest)
    for number, row in enumerate(rows, 1):
        on_image(number, len(rows))
        name = f"train/{row['file_name']}"
        if name not in files:
            problems.append(f"{name}: it is missing")
            continue
        if _digest(root / name) != row["sha256"]:
            problems.append(f"{name}: its SHA-256 is not the one in metadata.jsonl")
        try:
            decode(root / name, name=name, size=1, fit="squash")
        except UnreadableImagesError as error:
            problems += [f"{name}: {reason}" for _, reason in error.files]
    counts = Counter(row["label"] for row in rows)
    problems += [
        f"class '{name}' (label {i}) has {counts[i]} images, the manifest says ipc={manifest.ipc}"
        for i, name in enumerate(manifest.class_names)
        if counts[i] != manifest.ipc
    ]
    problems += strange
    known = {MANIFEST, *manifest.files, "train"}
    known |= {f"train/{name}" for name in manifest.class_folders} | {f"train/{row['file_name']}" for row in rows}
    for name in sorted((files | folders) - known):
        where = "metadata.jsonl" if name in files and name.startswith("train/") else "what a set has"
        problems.append(f"{escaped(name)}: it is not listed in {where}")
    if problems:
        _refuse(root, problems)
    return len(rows)


def _walk(root: Path, below: str, files: set[str], folders: set[str], odd: list[str]) -> None:
    """List what lies in `root / below`, links not followed."""
    with os.scandir(root / below) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                folders.add(name)
                _walk(root, f"{name}/", files, folders, odd)
            elif entry.is_file(follow_symlinks=False):
                files.add(name)
            else:
                odd.append(name)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _refuse(root: Path, problems: list[str]) -> None:
    shown = "".join(f"\n  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
    more = f"\n  … and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
    raise DataError(f"{root} is not the set that was written, {len(problems)} problem(s):{shown}{more}")
