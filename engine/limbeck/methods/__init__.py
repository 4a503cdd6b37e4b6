"""The methods by name, and their settings from plain values (a command line, a job)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from limbeck.errors import ConfigError
from limbeck.methods.base import Method
from limbeck.methods.d3hr import D3HR
from limbeck.methods.d4m import D4M

METHODS: Mapping[str, type[D3HR] | type[D4M]] = {kind.name: kind for kind in (D4M, D3HR)}
PRESETS = ("default", "faithful")


def make_method(name: str, *, ipc: int, seed: int = 0, preset: str = "default", settings: Mapping[str, Any]) -> Method:
    """A method from its name and settings.

    Args:
        name: As in `METHODS`.
        ipc: Images per class.
        seed: The job's seed.
        preset: "default", limbeck's settings, or "faithful", the official release's.
        settings: The other fields by name; they win over the preset. Text is converted to the field's type.

    Raises:
        ConfigError: An unknown method, preset or setting, or a value that does not fit.
    """
    if name not in METHODS:
        raise ConfigError(f"unknown method '{name}'; there is {', '.join(METHODS)}")
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset '{preset}'; there is {', '.join(PRESETS)}")
    kind = METHODS[name]
    known = [field.name for field in fields(kind) if field.name not in ("ipc", "seed")]
    for setting in settings:
        if setting not in known:
            near = difflib.get_close_matches(setting, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(known)}"
            raise ConfigError(f"unknown setting '{setting}' for method '{name}'{hint}")
    base = kind.faithful(ipc=ipc, seed=seed) if preset == "faithful" else kind(ipc=ipc, seed=seed)
    try:
        # values from a command line are text, and tuples come as JSON lists
        return TypeAdapter(kind).validate_python({**vars(base), **settings})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"setting '{place}' of method '{name}': {first['msg']}, got {first['input']!r}") from error
