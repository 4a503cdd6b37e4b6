"""A backend from settings that come as text or JSON: names and values are those of its constructor."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, get_origin, get_type_hints

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from limbeck.backends.base import Backend
from limbeck.errors import ConfigError


def configured(kind: type[Backend], settings: Mapping[str, object]) -> Backend:
    """A backend of this class.

    Args:
        kind: The backend's class.
        settings: Constructor arguments by name. Text is converted to an argument's type, a sequence may be given with
            commas ("SM86,SM89"), and a mapping stands for a dataclass.

    Raises:
        ConfigError: A setting that the backend does not have, with those it has, or a value that does not fit.
    """
    known = _settings_of(kind)
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean '{near[0]}'? " if near else ""
            raise ConfigError(f"the {kind.name} backend has no setting '{name}'; {meant}it has {', '.join(known)}")
    return kind(**{name: _converted(kind, name, value, known[name]) for name, value in settings.items()})


def _settings_of(kind: type[Backend]) -> Mapping[str, Any]:
    """The types of the arguments that can be written down; a live object, such as TensorRT's arena, cannot."""
    hints = get_type_hints(kind.__init__)
    return {name: hints[name] for name in inspect.signature(kind).parameters if _can_be_written(hints[name])}


def _can_be_written(hint: Any) -> bool:
    try:
        TypeAdapter(hint)
    except PydanticSchemaGenerationError:
        return False
    return True


def _converted(kind: type[Backend], name: str, value: object, hint: Any) -> Any:
    if isinstance(value, str) and get_origin(hint) is Sequence:
        value = value.split(",")
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        reasons = "; ".join(dict.fromkeys(found["msg"] for found in error.errors()))
        raise ConfigError(f"setting '{name}' of the {kind.name} backend: {reasons}, got {value!r}") from error
