"""Folders on the server that callers may name."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from limbeck_server.trust.errors import PathRefusedError

_MAX_LENGTH = 4096


class AllowedRoots:
    """The folders below which callers may name files.

    Args:
        roots: Existing folders; what they link to counts as the folder itself.

    What a path means can change after it was resolved. Who reads it later, as a worker does, resolves it again and
    reads what that gives.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = tuple(Path(os.path.realpath(root, strict=True)) for root in roots)

    def resolve(self, text: str) -> Path:
        """The file or folder that an absolute path means, without links.

        Raises:
            PathRefusedError: It is not below an allowed folder, not there, or neither a file nor a folder. Whether
                something is there is said of allowed folders only.
        """
        if not self._roots:
            raise PathRefusedError("this server reads no folders of its own; upload the images instead")
        if not text.isprintable() or len(text) > _MAX_LENGTH:
            raise PathRefusedError("the path has characters that nobody can read, or is too long")
        if not os.path.isabs(text) or ".." in Path(text).parts:
            raise PathRefusedError(f"{text!r} must be an absolute path without '..'")
        path = Path(os.path.realpath(text))
        if not self._below(path):
            raise PathRefusedError(f"{text!r} is not below a folder that this server's operator allows")
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise PathRefusedError(f"{text!r} cannot be read: {error.strerror}") from error
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise PathRefusedError(f"{text!r} is neither a folder nor a file")
        return path

    def check_tree(self, folder: Path) -> None:
        """See that nothing below a folder leads out of the allowed ones, and that all is folders and files.

        Raises:
            PathRefusedError: Something does; the message names it.
        """
        waiting, seen = [str(folder)], {str(folder)}
        while waiting:
            for entry in _entries(waiting.pop()):
                path = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                if not self._below(Path(path)):
                    raise PathRefusedError(f"the link {entry.path!r} leads out of the folders that are allowed")
                if os.path.isdir(path):
                    if path not in seen:
                        waiting.append(path)
                        seen.add(path)
                elif not os.path.isfile(path):
                    raise PathRefusedError(f"{entry.path!r} is neither a folder nor a file")

    def _below(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self._roots)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise PathRefusedError(f"{folder!r} cannot be read: {error.strerror}") from error
