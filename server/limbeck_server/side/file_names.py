"""Names of uploaded files: what their ending says, and a name that is safe to give a file or folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from limbeck.errors import DataError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2")
FILES = (".npz", ".parquet", ".pt", ".pth", ".safetensors")

_MAX_LENGTH = 64
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class FileName:
    """A file's name.

    Args:
        stem: Plain letters, digits, and `-_.` between them.
        ending: One of `ARCHIVES` or `FILES`.
    """

    stem: str
    ending: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """A name as a client gives it; folders in it are left out, odd letters replaced.

        Raises:
            DataError: Its ending is none of those that can be read.
        """
        last = re.split(r"[/\\]", text)[-1]
        ending = _ending(last)
        if ending is None:
            raise DataError(
                f"{text[:100]!r} has an ending that cannot be read; give an archive "
                f"({' '.join(ARCHIVES)}) or one of {' '.join(FILES)}"
            )
        stem = _UNSAFE.sub("-", last[: -len(ending)])[:_MAX_LENGTH].strip("-_.")
        return cls(stem or "data", ending)

    @staticmethod
    def fits(text: str) -> bool:
        """Whether a name is that of a file which is a dataset by itself."""
        return text.lower().endswith(FILES)

    @property
    def text(self) -> str:
        """The whole name."""
        return self.stem + self.ending

    @property
    def is_archive(self) -> bool:
        """Whether the file is unpacked, rather than read as it is."""
        return self.ending in ARCHIVES


def _ending(name: str) -> str | None:
    return next((ending for ending in (*ARCHIVES, *FILES) if name.lower().endswith(ending)), None)
