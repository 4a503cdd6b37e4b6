"""What a client may set of a method: the method's own fields as a JSON schema."""

from __future__ import annotations

import inspect
import json
import logging

from pydantic import TypeAdapter

from limbeck.errors import LimbeckError
from limbeck.methods import find_method, method_names
from limbeck_server.rpc import server_pb2

logger = logging.getLogger(__name__)

_OF_THE_JOB = ("ipc", "seed")
"""Fields of a method that a job's spec says itself."""


def method_messages() -> list[server_pb2.MethodInfo]:
    """Every method that there is, also those that installed packages register; broken ones are left out and logged."""
    found = []
    for name in method_names():
        try:
            found.append(_message(name))
        except LimbeckError as error:
            logger.error("method_unusable method=%s error=%s", name, error)
    return found


def _message(name: str) -> server_pb2.MethodInfo:
    kind = find_method(name)
    summary, _, _ = (inspect.getdoc(kind) or "").partition("\n\n")
    schema = TypeAdapter(kind).json_schema()
    for field in _OF_THE_JOB:
        schema["properties"].pop(field, None)
    schema["required"] = [field for field in schema.get("required", ()) if field not in _OF_THE_JOB]
    schema.pop("description", None)
    return server_pb2.MethodInfo(name=name, summary=" ".join(summary.split()), settings_schema=json.dumps(schema))
