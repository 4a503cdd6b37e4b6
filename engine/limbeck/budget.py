"""Bytes as people write them: `4GiB`, `768 MiB`, `0.75`, and back.

A budget is a number of bytes of private, writable memory of one process (`limbeck.memory.process` says why).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from limbeck.errors import ConfigError

UNITS: Mapping[str, int] = {
    "": 2**30,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
"""What a unit is in bytes, in capitals. A plain number is GiB: nobody has a budget of two bytes."""

_AMOUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]*)")
_LARGEST = 2**50


def parse_nbytes(text: str) -> int:
    """The bytes that `text` says: a number and a unit, `4GiB`, `768MiB`, `2GB`, `1.5 tib`; without a unit, GiB.

    Fractions of a byte are cut off.

    Raises:
        ConfigError: No such amount, less than a byte, or more than a PiB.
    """
    found = _AMOUNT.fullmatch(text.strip())
    unit = UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None:
        raise ConfigError(f"'{text}' is no amount of memory; write 4GiB, 768MiB, 2GB, or a plain number of GiB: 0.75")
    nbytes = int(Fraction(found[1]) * unit)
    if not 1 <= nbytes <= _LARGEST:
        hint = f"; if it is bytes, write {found[1]}B" if not found[2] and nbytes > _LARGEST else ""
        raise ConfigError(f"'{text}' is {nbytes:,} bytes; an amount of memory lies between 1 B and 1024 TiB{hint}")
    return nbytes


def format_nbytes(nbytes: int) -> str:
    """`nbytes` for people, in the largest binary unit that it has one of, with three digits: `3.5 GiB`, `768 MiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if abs(nbytes) >= UNITS[unit.upper()]:
            return (
                f"{nbytes / UNITS[unit.upper()]:.3g} {unit}"
                if abs(nbytes) < 1000 * UNITS[unit.upper()]
                else (f"{nbytes / UNITS[unit.upper()]:.0f} {unit}")
            )
    return f"{nbytes} B"
