"""What a job is asked to do: messages from and to the JSON that the ledger keeps (`limbeck_server.spec` checks it).

The names of fields are the same on both sides. In JSON a pack is called by its own name, and what was not set is left
out, so that the server's default holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from limbeck_server.rpc import specs_pb2
from limbeck_server.wire.names import dataset_id, is_set_name, pack_id, pack_name, set_id
from limbeck_server.wire.structs import json_of, struct_of

_KINDS: Mapping[str, type[Message]] = {"distill": specs_pb2.DistillSpec, "evaluate": specs_pb2.EvaluateSpec}


def _dataset(name: str, field: str) -> str:
    """Real images, or a distilled set in their place: some methods make one again."""
    return _set(name, field) if is_set_name(name) else _real(name, field)


def _real(name: str, field: str) -> str:
    dataset_id(name, field)
    return name


def _set(name: str, field: str) -> str:
    set_id(name, field)
    return name


_NAMES: Mapping[str, Callable[[str, str], str]] = {
    "pack": pack_id,
    "heir_pack": pack_id,
    "dataset": _dataset,
    "train_dataset": _dataset,
    "test_dataset": _dataset,
    "distilled_sets": _set,
}
_PACKS = ("pack", "heir_pack")


def spec_json(message: Message, field: str) -> dict[str, Any]:
    """A spec, or a part of one, as JSON.

    Args:
        message: The message.
        field: Its path in the request, such as "distill".

    Raises:
        RequestError: A resource name that is none, or a number that is not finite.
    """
    return {one.name: _plain(one.name, value, f"{field}.{one.name}") for one, value in message.ListFields()}


def spec_message(kind: str, data: Mapping[str, Any]) -> Message:
    """A spec of the kind "distill" or "evaluate" from its JSON."""
    message = _KINDS[kind]()
    _fill(message, data)
    return message


def _plain(name: str, value: Any, field: str) -> Any:
    if isinstance(value, Struct):
        return json_of(value, field)
    if isinstance(value, Message):
        return spec_json(value, field)
    if isinstance(value, str):
        return _NAMES[name](value, field) if name in _NAMES else value
    if isinstance(value, (int, float)):
        return value
    return [_plain(name, one, f"{field}.{number}") for number, one in enumerate(value)]


def _fill(message: Message, data: Mapping[str, Any]) -> None:
    for name, value in data.items():
        if value is None:
            continue
        target = getattr(message, name)
        if isinstance(target, Struct):
            target.CopyFrom(struct_of(value))
        elif isinstance(target, Message):
            _fill(target, value)
        elif isinstance(value, list):
            for one in value:
                if isinstance(one, Mapping):
                    _fill(target.add(), one)
                else:
                    target.append(one)
        else:
            setattr(message, name, pack_name(value) if name in _PACKS else value)
