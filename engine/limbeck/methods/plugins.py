"""Methods of other packages, by entry points of the group `limbeck.methods`; nothing is loaded until it is asked for.

    [project.entry-points."limbeck.methods"]
    blend = "limbeck_blend:Blend"

A package that is broken is named when its method is asked for, and is in nobody's way before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias, get_args

from limbeck.errors import ConfigError
from limbeck.models import Part

GROUP = "limbeck.methods"

_MEMBERS = ("check", "warm_up", "work", "units", "distill", "faithful")


MethodKind: TypeAlias = type[Any]
"""The class of a `Method`: a frozen dataclass whose fields are its settings, `ipc` and `seed` among them, called with
keywords, with a classmethod `faithful(*, ipc, seed)` beside the constructor. Python's types cannot say that."""


def plugin_names() -> list[str]:
    """The names of the methods that installed packages register, sorted."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def plugin(name: str) -> MethodKind:
    """The class of a method that an installed package registers.

    Args:
        name: One of `plugin_names`.

    Raises:
        ConfigError: Several packages register it, it cannot be loaded, or it is no method.
    """
    found = tuple(entry_points(group=GROUP, name=name))
    if len(found) > 1:
        raise ConfigError(f"{' and '.join(map(_package, found))} both register method '{name}'; uninstall one of them")
    (entry,) = found
    try:
        kind: MethodKind = entry.load()
    except Exception as error:  # whatever a foreign module raises
        raise ConfigError(
            f"method '{name}' of {_package(entry)} cannot be loaded from {entry.value}: {type(error).__name__}: {error}"
        ) from error
    if faults := list(_faults(kind, name)):
        raise ConfigError(f"'{name}' of {_package(entry)}, {entry.value}, is no method: {'; '.join(faults)}")
    return kind


def package_of(name: str) -> str | None:
    """The package that registers a method, with its version; None where none does."""
    return next((f"{e.dist.name} {e.dist.version}" for e in entry_points(group=GROUP, name=name) if e.dist), None)


def _package(entry: EntryPoint) -> str:
    return f"package '{entry.dist.name} {entry.dist.version}'" if entry.dist else "a package"


def _faults(kind: object, name: str) -> Iterator[str]:
    """What keeps a foreign object from being the class of the method `name`."""
    if not isinstance(kind, type) or not is_dataclass(kind):
        yield "it is not a dataclass"
        return
    if absent := sorted({"ipc", "seed"} - {field.name for field in fields(kind)}):
        yield f"it has no field {' or '.join(absent)}"
    if getattr(kind, "name", None) != name:
        yield f"it calls itself {getattr(kind, 'name', None)!r}"
    if missing := [member for member in _MEMBERS if not callable(getattr(kind, member, None))]:
        yield f"it has no {', '.join(missing)}"
    needs = getattr(kind, "needs", None)
    if not isinstance(needs, (set, frozenset)) or not needs <= set(get_args(Part)):
        yield f"its needs are {needs!r}, not a set of {', '.join(get_args(Part))}"
