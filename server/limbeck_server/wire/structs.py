"""`google.protobuf.Struct` and plain JSON objects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2

from limbeck_server.wire.refusal import RequestError, Violation
from limbeck_server.wire.text import valid_json


def json_of(struct: struct_pb2.Struct, field: str) -> dict[str, Any]:
    """A struct as a JSON object. Its numbers are floating-point; whole ones become integers again.

    Args:
        struct: The struct.
        field: Its path in the request, for the error.

    Raises:
        RequestError: A number is not finite: JSON has none.
    """
    return {name: _plain(value, f"{field}.{name}") for name, value in struct.fields.items()}


def struct_of(data: Mapping[str, Any]) -> struct_pb2.Struct:
    """A JSON object as a struct. Integers beyond 2^53 lose their last digits, text is made Unicode."""
    struct = struct_pb2.Struct()
    struct.update(valid_json(dict(data)))
    return struct


def _plain(value: struct_pb2.Value, field: str) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return _number(value.number_value, field)
    if kind == "struct_value":
        return json_of(value.struct_value, field)
    if kind == "list_value":
        return [_plain(one, f"{field}.{number}") for number, one in enumerate(value.list_value.values)]
    return None if kind in (None, "null_value") else getattr(value, kind)


def _number(value: float, field: str) -> int | float:
    if not math.isfinite(value):
        raise RequestError(Violation(field, f"{value} is no number that can be stored; give a finite one"))
    return int(value) if value.is_integer() and abs(value) <= 2**53 else value
