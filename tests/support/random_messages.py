"""Messages of any kind with anything in their fields, as a careless or hostile client would send them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_INTEGERS = (0, 1, -1, 2, 7, 1000, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))
_FLOATS = (0.0, -0.0, 1.0, 4.0, 0.5, -3.25, 1e300, float("nan"), float("inf"))
_DEEPEST = 4


def random_message(random: Random, kind: Any, texts: Sequence[str], depth: int = 0) -> Message:
    """A message of the descriptor `kind`; its texts are among `texts` or made of anything."""
    message: Message = GetMessageClass(kind)()
    for field in kind.fields:
        if random.random() < 0.5 and (depth < _DEEPEST or field.message_type is None):
            _fill(random, message, field, texts, depth)
    return message


def _fill(random: Random, message: Message, field: Any, texts: Sequence[str], depth: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _fill_map(random, message, field, texts, depth)
    elif field.is_repeated:
        values = [_value(random, field, texts, depth) for _ in range(random.choice((0, 1, 3)))]
        getattr(message, field.name).extend(values)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(_value(random, field, texts, depth))
    else:
        setattr(message, field.name, _value(random, field, texts, depth))


def _fill_map(random: Random, message: Message, field: Any, texts: Sequence[str], depth: int) -> None:
    key = _value(random, field.message_type.fields_by_name["key"], texts, depth)
    value = field.message_type.fields_by_name["value"]
    target = getattr(message, field.name)
    if value.message_type is None:
        target[key] = _value(random, value, texts, depth)
    else:
        target[key].CopyFrom(_value(random, value, texts, depth))


def _value(random: Random, field: Any, texts: Sequence[str], depth: int) -> Any:
    if field.message_type is not None:
        return random_message(random, field.message_type, texts, depth + 1)
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = random.choice([*texts, "", "".join(chr(random.randrange(1, 0xD800)) for _ in range(9)), "x" * 5000])
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return random.random() < 0.5
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return random.choice(_FLOATS)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return random.choice((0, 1, 2, 99))
    return _integer(random, kind)


def _integer(random: Random, kind: int) -> int:
    value = random.choice(_INTEGERS)
    if kind in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64):
        value = abs(value)
    if kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32):
        value = max(min(value, 2**31 - 1), -(2**31))
    return value
