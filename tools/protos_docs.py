"""Write docs/reference/protocol.md from the comments in protos/limbeck/v1/.

python -m tools.protos_docs
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from tools.protos_descriptors import ROOT, Element, compile_protos, elements, file_comment

PAGE = ROOT / "docs" / "reference" / "protocol.md"
_HEAD = """\
# Protocol

What a limbeck server speaks: gRPC, package `limbeck.v1`, as its clients in any language see it. The page is written by
`python -m tools.protos_docs` from the files in `protos/limbeck/v1`; compile those with `-I protos`.

Errors have a canonical code and details of `google.rpc`: `ErrorInfo` with a reason in UPPER_SNAKE_CASE and the domain
`limbeck`, `BadRequest` with the fields that are wrong, `RetryInfo` where the same call can succeed later. A field that
is not set means its default.
"""


def page(found: FileDescriptorSet) -> str:
    """The whole page: services first, then messages, file by file."""
    files = [file for file in found.file if file.package == "limbeck.v1"]
    known = {one.full_name for file in files for one in elements(file) if one.kind in ("message", "enum")}
    ordered = sorted(files, key=lambda file: (not file.service, file.name))
    parts = [line for file in ordered for line in _of_file(file, known)]
    return "\n".join([_HEAD, *parts]).rstrip("\n") + "\n"


def _of_file(file: FileDescriptorProto, known: set[str]) -> Iterator[str]:
    everything = list(elements(file))
    services = [element for element in everything if element.kind == "service"]
    yield f"## {services[0].name if services else f'`{Path(file.name).name}`'}\n"
    yield f"`{file.name}`. {file_comment(file)}\n"
    for service in services:
        yield f"{service.comment}\n"
        yield from _table(["call", "takes", "gives", ""], [_of_rpc(one) for one in _inside(everything, service)])
    for element in everything:
        if element.kind == "message":
            yield from _of_message(element, everything, known)
        elif element.kind == "enum":
            yield f"### {element.name}\n"
            yield f"{element.comment}\n"
            rows = [[f"`{one.name}`", str(one.proto.number), one.comment] for one in _inside(everything, element)]
            yield from _table(["value", "number", ""], rows)


def _of_message(message: Element, everything: Sequence[Element], known: set[str]) -> Iterator[str]:
    yield f"### {message.name}\n"
    yield f"{message.comment}\n"
    inside = [one for one in _inside(everything, message) if one.kind in ("field", "oneof")]
    oneofs = [one for one in inside if one.kind == "oneof"]
    rows = [
        [f"`{one.name}`", str(one.proto.number), _type(one, known), f"{_choice(one, oneofs)}{one.comment}"]
        for one in inside
        if one.kind == "field"
    ]
    if rows:
        yield from _table(["field", "number", "type", ""], rows)


def _inside(everything: Sequence[Element], outer: Element) -> list[Element]:
    return [one for one in everything if one.parent is outer.proto]


def _of_rpc(rpc: Element) -> list[str]:
    sides = (
        (rpc.proto.client_streaming, rpc.proto.input_type),
        (rpc.proto.server_streaming, rpc.proto.output_type),
    )
    takes, gives = (f"{'stream of ' if stream else ''}{_link(_last(name))}" for stream, name in sides)
    return [f"`{rpc.name}`", takes, gives, rpc.comment]


def _type(field: Element, known: set[str]) -> str:
    proto = field.proto
    entry = next((one for one in field.parent.nested_type if one.name == _last(proto.type_name)), None)
    if entry is not None:
        key, value = entry.field
        return f"map of {_plain(key, known)} to {_plain(value, known)}"
    repeated = proto.label == FieldDescriptorProto.LABEL_REPEATED
    return f"{'repeated ' if repeated else ''}{_plain(proto, known)}"


def _plain(proto: Any, known: set[str]) -> str:
    name = proto.type_name.removeprefix(".")
    if not name:
        return FieldDescriptorProto.Type.Name(proto.type).removeprefix("TYPE_").lower()
    return _link(_last(name)) if name in known else f"`{name}`"


def _choice(field: Element, oneofs: Sequence[Element]) -> str:
    proto = field.proto
    if not proto.HasField("oneof_index") or proto.proto3_optional:
        return ""
    return f"One of `{oneofs[proto.oneof_index].name}`: "


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page(compile_protos()), "utf-8")
