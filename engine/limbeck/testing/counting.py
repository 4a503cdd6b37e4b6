"""Networks that count how often they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

from limbeck.models import Models

CALLS: Mapping[str, frozenset[str]] = {
    "denoiser": frozenset({"__call__", "with_variance"}),
    "codec": frozenset({"encode", "posterior", "decode"}),
    "backbone": frozenset({"features", "vjp", "flow_gradient"}),
    "features": frozenset({"maps"}),
    "text": frozenset({"features"}),
}
"""What runs a network, by the field of `Models` that it is a method of."""


class Counted:
    """A part that counts its calls and is otherwise itself."""

    def __init__(self, part: Any, name: str, calls: Counter[str]) -> None:
        """Count the calls of `CALLS[name]` in `calls`, under names such as "codec.encode"."""
        self._part = part
        self._name = name
        self._calls = calls

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._count("__call__", *arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        return partial(self._count, name) if name in CALLS[self._name] else found

    def _count(self, call: str, *arguments: Any, **keywords: Any) -> Any:
        self._calls[f"{self._name}.{call}"] += 1
        return getattr(self._part, call)(*arguments, **keywords)


def counted(models: Models) -> tuple[Models, Counter[str]]:
    """The same models, and how often each of their networks has been called since."""
    calls: Counter[str] = Counter()
    there = {field.name for field in fields(models)} & CALLS.keys()
    parts: dict[str, Any] = {name: Counted(getattr(models, name), name, calls) for name in sorted(there)}
    return replace(models, **parts), calls
