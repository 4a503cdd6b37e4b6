"""Refusals of settings that methods have in common."""

from __future__ import annotations

from limbeck.errors import ConfigError


def refuse_below_one(method: object, *names: str) -> None:
    """Refuse counts below 1, so that a job does not find out.

    Args:
        method: Has the fields.
        names: Of the fields that count something.

    Raises:
        ConfigError: It names the first.
    """
    for name in names:
        if getattr(method, name) < 1:
            raise ConfigError(f"{name} must be at least 1, got {getattr(method, name)}")
