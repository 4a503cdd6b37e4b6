"""Hold the .proto files to buf's STANDARD rules and the AIPs that limbeck follows, and to what was published.

    python -m tools.protos_lint                     say what is wrong
    python -m tools.protos_lint --write-baseline    take the present state for what is published

Against the baseline, things may be added. What is there stays: a removed, renamed, renumbered or retyped field, a
removed value or call breaks clients that are built already. The workers' protocol is held to the style only: both
sides of it are always of one installation.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.json_format import MessageToJson, Parse
from tools.protos_descriptors import PROTOS, Element, compile_protos, elements, file_comment

BASELINE = PROTOS / "baseline.json"
PUBLISHED = "limbeck.v1"
"""The package whose clients are elsewhere."""

_PASCAL = re.compile(r"([A-Z][a-z0-9]*)+")
_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_UPPER = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
_STYLES: Mapping[str, tuple[str, re.Pattern[str]]] = {
    "message": ("PascalCase", _PASCAL),
    "enum": ("PascalCase", _PASCAL),
    "service": ("PascalCase", _PASCAL),
    "rpc": ("PascalCase", _PASCAL),
    "field": ("lower_snake_case", _SNAKE),
    "oneof": ("lower_snake_case", _SNAKE),
    "value": ("UPPER_SNAKE_CASE", _UPPER),
}
_MAKING = ("Create", "Start", "Register")
"""How the names of calls begin that make something."""


def style_problems(found: FileDescriptorSet) -> list[str]:
    """Everything that is not as the rules want it, each as "place: what"."""
    problems = [problem for file in found.file for problem in _of_file(file)]
    everything = [element for file in found.file for element in elements(file)]
    messages = {element.full_name: element.proto for element in everything if element.kind == "message"}
    for element in everything:
        for rule in _RULES:
            problems += [f"{element.full_name}: {text}" for text in rule(element)]
        if element.kind == "rpc":
            problems += [f"{element.full_name}: {text}" for text in _of_fields(element, messages)]
    return problems + list(_shared(everything))


def breaking_problems(before: FileDescriptorSet, now: FileDescriptorSet) -> list[str]:
    """What clients that were built on `before` would not find in `now`."""
    present = _by_name(now)
    return [problem for name, old in _by_name(before).items() for problem in _broken(name, old, present.get(name))]


def published(found: FileDescriptorSet) -> FileDescriptorSet:
    """The files whose clients are elsewhere, without comments."""
    kept = FileDescriptorSet(file=[file for file in found.file if file.package == PUBLISHED])
    for file in kept.file:
        file.ClearField("source_code_info")
    return kept


def _of_file(file: FileDescriptorProto) -> Iterator[str]:
    if not file_comment(file):
        yield f"{file.name}: it does not say what it is for, above `syntax`"
    folder = str(Path(file.name).parent).replace("/", ".")
    if file.package != folder:
        yield f"{file.name}: its package is {file.package or 'missing'}, its folder says {folder}"
    if not re.search(r"\.v\d+$", file.package):
        yield f"{file.name}: its package {file.package} has no version"
    if not _SNAKE.fullmatch(Path(file.name).stem):
        yield f"{file.name}: a file's name is lower_snake_case"
    if file.public_dependency:
        yield f"{file.name}: an import is public"


def _commented(element: Element) -> Iterator[str]:
    if not element.comment:
        yield f"this {element.kind} has no comment"


def _named(element: Element) -> Iterator[str]:
    style, pattern = _STYLES[element.kind]
    if not pattern.fullmatch(element.name):
        yield f"the name of a {element.kind} is {style}"


def _service_ends_in_service(element: Element) -> Iterator[str]:
    if element.kind == "service" and not element.name.endswith("Service"):
        yield "a service's name ends in Service"


def _rpc_has_its_own_messages(element: Element) -> Iterator[str]:
    if element.kind != "rpc":
        return
    for what, type_name in (("Request", element.proto.input_type), ("Response", element.proto.output_type)):
        if _last(type_name) != f"{element.name}{what}":
            yield f"it should use {element.name}{what}, not {_last(type_name)}"


def _enum_is_prefixed(element: Element) -> Iterator[str]:
    if element.kind != "enum":
        return
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", element.name).upper() + "_"
    for value in element.proto.value:
        if not value.name.startswith(prefix):
            yield f"its value {value.name} should begin with {prefix}"
        if value.number == 0 and value.name != f"{prefix}UNSPECIFIED":
            yield f"its value 0 should be {prefix}UNSPECIFIED, not {value.name}"
    if element.proto.options.allow_alias:
        yield "it has aliases"


_RULES: tuple[Callable[[Element], Iterator[str]], ...] = (
    _commented,
    _named,
    _service_ends_in_service,
    _rpc_has_its_own_messages,
    _enum_is_prefixed,
)


def _of_fields(rpc: Element, messages: Mapping[str, Any]) -> Iterator[str]:
    """What a call's messages must have: pages (AIP-158) and a mark by which a request can be repeated (AIP-155)."""
    request, response = (
        {field.name for field in messages[name].field} if (name := type_name.removeprefix(".")) in messages else set()
        for type_name in (rpc.proto.input_type, rpc.proto.output_type)
    )
    if rpc.name.startswith("List"):
        for field in sorted({"page_size", "page_token"} - request):
            yield f"its request has no {field}"
        if "next_page_token" not in response:
            yield "its response has no next_page_token"
    if rpc.name.startswith(_MAKING) and "request_id" not in request:
        yield "its request has no request_id"


def _shared(everything: list[Element]) -> Iterator[str]:
    """Messages that several calls use: none of them could change alone."""
    used = Counter(
        type_name
        for element in everything
        if element.kind == "rpc"
        for type_name in (element.proto.input_type, element.proto.output_type)
    )
    for type_name, times in used.items():
        if times > 1:
            yield f"{type_name.removeprefix('.')}: {times} calls use this message"


def _by_name(found: FileDescriptorSet) -> dict[str, Element]:
    return {f"{one.kind} {one.full_name}": one for file in found.file for one in elements(file)}


def _broken(name: str, old: Element, new: Element | None) -> Iterator[str]:
    if new is None:
        yield f"{name} was removed or renamed"
        return
    for what, value in _contract(old).items():
        if (now := _contract(new)[what]) != value:
            yield f"{name}: its {what} was {value}, now it is {now}"


def _contract(element: Element) -> dict[str, object]:
    """What a client relies on."""
    proto = element.proto
    if element.kind == "field":
        return {
            "number": proto.number,
            "type": _type(element),
            "label": FieldDescriptorProto.Label.Name(proto.label),
            "presence": proto.proto3_optional,
            "name in JSON": proto.json_name,
            "oneof": element.parent.oneof_decl[proto.oneof_index].name if proto.HasField("oneof_index") else "none",
        }
    if element.kind == "value":
        return {"number": proto.number}
    if element.kind == "rpc":
        return {
            "request": proto.input_type,
            "response": proto.output_type,
            "streaming": (proto.client_streaming, proto.server_streaming),
        }
    return {}


def _type(field: Element) -> str:
    proto = field.proto
    entry = next((one for one in field.parent.nested_type if one.name == _last(proto.type_name)), None)
    if entry is not None:  # what protoc makes of `map<…>`
        return " to ".join(_plain_type(one) for one in entry.field)
    return _plain_type(proto)


def _plain_type(proto: Any) -> str:
    return proto.type_name or str(FieldDescriptorProto.Type.Name(proto.type))


def _last(type_name: str) -> str:
    return type_name.rpartition(".")[2]


def main() -> None:
    """Say what is wrong; the exit code is 1 if something is."""
    found = compile_protos()
    if "--write-baseline" in sys.argv[1:]:
        BASELINE.write_text(MessageToJson(published(found), indent=1) + "\n", "utf-8")
        return
    before = Parse(BASELINE.read_text("utf-8"), FileDescriptorSet())
    problems = style_problems(found) + breaking_problems(before, published(found))
    print("\n".join(problems) or f"{len(found.file)} files are as they should be")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
