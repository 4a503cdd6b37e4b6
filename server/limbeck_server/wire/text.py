"""Text that a message can carry: file names need not be Unicode, protobuf's strings must."""

from __future__ import annotations

from typing import Any


def valid_text(text: str) -> str:
    """The text with what is not Unicode written out, such as a lone byte of a file's name: "caf\\\\xe9.png"."""
    return text.encode("utf-8", "backslashreplace").decode()


def valid_json(value: Any) -> Any:
    """JSON values with valid text everywhere."""
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, dict):
        return {valid_text(name): valid_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [valid_json(one) for one in value]
    return value
