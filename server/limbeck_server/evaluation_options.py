"""Which options of an evaluation mean something to which protocol; a command that gives another is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from limbeck.errors import ConfigError

ProtocolName = Literal["probe", "linear", "inheritance", "hard", "soft", "fkd"]

_STUDENTS: tuple[ProtocolName, ...] = ("hard", "soft", "fkd")
_LEARNING: tuple[ProtocolName, ...] = ("linear", "inheritance", *_STUDENTS)

USED_BY: Mapping[str, tuple[ProtocolName, ...]] = {
    "baseline": ("linear", *_STUDENTS),
    "student": _STUDENTS,
    "teacher": ("soft", "fkd"),
    "labels": ("fkd",),
    "heir": ("inheritance",),
    "scale": _LEARNING,
    "epochs": _LEARNING,
    "checks": _STUDENTS,
    "image_size": _STUDENTS,
    "norm": _STUDENTS,
    "width": _STUDENTS,
    "precision": _STUDENTS,
    "device": _STUDENTS,
}
"""By option, as Python spells it. One that is not here means something to every protocol."""


def uses(protocol: ProtocolName, option: str) -> bool:
    """Whether an option means something to a protocol."""
    return protocol in USED_BY.get(option, (protocol,))


def refuse_unused(protocol: ProtocolName, given: Iterable[str]) -> None:
    """Refuse what would be ignored.

    Raises:
        ConfigError: An option that was given means nothing to the protocol.
    """
    for option in given:
        if not uses(protocol, option):
            raise ConfigError(
                f"--{option.replace('_', '-')} means nothing to protocol '{protocol}', but to "
                f"{', '.join(USED_BY[option])}; leave it out"
            )
