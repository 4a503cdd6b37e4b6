"""The methods by name, and their settings from plain values (a command line, a job)."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from limbeck.errors import ConfigError
from limbeck.methods.base import Method
from limbeck.methods.d3hr import D3HR
from limbeck.methods.d4m import D4M
from limbeck.methods.ddps import DDPS
from limbeck.methods.diver import DIVER
from limbeck.methods.edits import EDITS
from limbeck.methods.herding import Herding
from limbeck.methods.kcenter import KCenter
from limbeck.methods.lgm import LGM
from limbeck.methods.medoid import Medoid
from limbeck.methods.mgd3 import MGD3
from limbeck.methods.minimax import Minimax
from limbeck.methods.plugins import MethodKind, plugin, plugin_names
from limbeck.methods.random_real import RandomReal
from limbeck.methods.rded import RDED
from limbeck.methods.sfm import SFM

_KINDS: tuple[MethodKind, ...] = (
    D4M,
    D3HR,
    RandomReal,
    Herding,
    KCenter,
    Medoid,
    MGD3,
    Minimax,
    DIVER,
    RDED,
    DDPS,
    SFM,
    LGM,
    EDITS,
)

METHODS: Mapping[str, MethodKind] = {kind.name: kind for kind in _KINDS}
"""The methods that limbeck brings, by name; those of other packages are found when their name is asked for."""

PRESETS = ("default", "faithful")


def method_names() -> list[str]:
    """The names of limbeck's methods, then those that installed packages register; none is loaded."""
    return [*METHODS, *(name for name in plugin_names() if name not in METHODS)]


def find_method(name: str) -> MethodKind:
    """The class of a method.

    Raises:
        ConfigError: There is none of this name, or the package that registers it is broken.
    """
    if name in METHODS:
        return METHODS[name]
    names = method_names()
    if name not in names:
        raise ConfigError(f"unknown method '{name}'; there is {', '.join(names)}")
    return plugin(name)


def make_method(name: str, *, ipc: int, seed: int = 0, preset: str = "default", settings: Mapping[str, Any]) -> Method:
    """A method from its name and settings.

    Args:
        name: As in `METHODS`, or as an installed package registers it; limbeck's own win.
        ipc: Images per class.
        seed: The job's seed.
        preset: "default", limbeck's settings, or "faithful", the official release's.
        settings: The other fields by name; they win over the preset. Text is converted to the field's type.

    Raises:
        ConfigError: An unknown method, preset or setting, or a value that does not fit.
    """
    kind = find_method(name)
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset '{preset}'; there is {', '.join(PRESETS)}")
    known = [field.name for field in fields(kind) if field.name not in ("ipc", "seed")]
    for setting in settings:
        if setting not in known:
            near = difflib.get_close_matches(setting, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(known)}"
            raise ConfigError(f"unknown setting '{setting}' for method '{name}'{hint}")
    base = kind.faithful(ipc=ipc, seed=seed) if preset == "faithful" else kind(ipc=ipc, seed=seed)
    try:
        # values from a command line are text, and tuples come as JSON lists
        made: Method = TypeAdapter(kind).validate_python({**vars(base), **settings})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"setting '{place}' of method '{name}': {first['msg']}, got {first['input']!r}") from error
    for field in fields(made):  # type: ignore[arg-type]
        found = getattr(made, field.name)
        if not _is_finite(found):
            raise ConfigError(f"setting '{field.name}' of method '{name}' must be finite, got {found}")
        if isinstance(settings.get(field.name), bool) and not isinstance(found, bool):  # to pydantic, true is 1
            raise ConfigError(f"setting '{field.name}' of method '{name}' is a number, got {settings[field.name]}")
    return made


def _is_finite(value: object) -> bool:
    """Whether a setting, and every number in it, is a number that a manifest can hold."""
    if isinstance(value, tuple | list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
