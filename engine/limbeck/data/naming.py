"""Names of class folders, such that sorting them gives the label order.

torchvision and `datasets` number classes by their sorted folder names. Folders named after classes in another order
would silently exchange labels, which is what D4M's release does to ImageNet's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_SEPARATORS = re.compile(r"[-._ 0-9]+")
# `datasets` takes a folder with such a word in its name for a split of its own.
_SPLIT_WORDS = frozenset(
    ["train", "training", "validation", "valid", "dev", "val", "test", "testing", "eval", "evaluation"]
)
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{i}" for i in range(1, 10)), *(f"lpt{i}" for i in range(1, 10))]
)
_MAX_LENGTH = 64


def class_folders(class_names: Sequence[str]) -> tuple[str, ...]:
    """One folder name a class, all different even where case is ignored, sorted in label order, safe on any system.

    The class names themselves where they are all of that; else the zero-padded label and what the name has of plain
    letters and digits: `07-tabby-cat`.
    """
    names = list(class_names)
    if names == sorted(names) and len({name.casefold() for name in names}) == len(names) and all(map(_is_safe, names)):
        return tuple(names)
    width = len(str(max(len(names) - 1, 0)))
    return tuple("-".join(filter(None, (f"{i:0{width}}", _slug(name)))) for i, name in enumerate(names))


def is_component(name: str) -> bool:
    """Whether `name` is one visible path component on any system, as every name of `class_folders` is."""
    return (
        name != ""
        and name[0].isalnum()
        and name[-1].isalnum()
        and all(letter.isalnum() or letter in " -_." for letter in name)
    )


def is_text(name: str) -> bool:
    """Whether a name as the system gave it is text: false where its bytes are not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def escaped(name: str) -> str:
    """A name for a message, bytes that are not UTF-8 written as `\\xff`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is_safe(name: str) -> bool:
    """Whether a folder may be called `name` on Linux, macOS and Windows, and says no split to `datasets`."""
    return (
        0 < len(name.encode(errors="replace")) <= _MAX_LENGTH
        and is_component(name)
        and unicodedata.normalize("NFC", name) == name
        and name.split(".")[0].lower() not in _RESERVED
        and not _says_split(name)
    )


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub("[^a-z0-9]+", "-", plain)[:_MAX_LENGTH].strip("-")
    return "" if _says_split(slug) else slug


def _says_split(name: str) -> bool:
    return not _SPLIT_WORDS.isdisjoint(_SEPARATORS.split(name.lower()))
