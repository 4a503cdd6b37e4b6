"""The .proto files as descriptors, each element with its comment: what the lint and the reference page read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).resolve().parents[1]
PROTOS = ROOT / "protos"

# The numbers of fields in descriptor.proto, of which the paths of comments are made.
_FILE = {"message": 4, "enum": 5, "service": 6}
_MESSAGE = {"field": 2, "message": 3, "enum": 4, "oneof": 8}
_SYNTAX = 12


@dataclass(frozen=True)
class Element:
    """Something that a .proto file declares.

    Args:
        kind: "message", "field", "oneof", "enum", "value", "service" or "rpc".
        file: The file's path below the root.
        full_name: With package and parents, such as "limbeck.v1.Job.name".
        comment: What stands above it; "" if nothing does.
        proto: Its descriptor.
        parent: The descriptor that it stands in; the file's at the top.
    """

    kind: str
    file: str
    full_name: str
    comment: str
    proto: Any
    parent: Any

    @property
    def name(self) -> str:
        """Its own name."""
        return str(self.proto.name)


def compile_protos(root: Path = PROTOS, folders: Sequence[str] = ("limbeck",)) -> FileDescriptorSet:
    """The descriptors of the .proto files below these folders of `root`, with comments.

    Raises:
        SystemExit: A file is wrong; the compiler has said where.
    """
    from grpc_tools import protoc

    found = sorted(str(path.relative_to(root)) for folder in folders for path in (root / folder).rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "set"
        command = ["protoc", f"-I{root}", f"-I{files('grpc_tools') / '_proto'}", f"--descriptor_set_out={out}"]
        if protoc.main([*command, "--include_source_info", *found]):
            raise SystemExit(1)
        return FileDescriptorSet.FromString(out.read_bytes())


def elements(file: FileDescriptorProto) -> Iterator[Element]:
    """Everything that a file declares, each before what stands in it."""
    return _Walk(file).all()


def file_comment(file: FileDescriptorProto) -> str:
    """What the file says of itself, above its first line."""
    return _Walk(file).comment((_SYNTAX,))


class _Walk:
    """One file, walked with the paths by which its comments are found."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        self._comments = {tuple(one.path): one.leading_comments for one in file.source_code_info.location}

    def comment(self, path: tuple[int, ...]) -> str:
        return " ".join(self._comments.get(path, "").split())

    def all(self) -> Iterator[Element]:
        file = self._file
        yield from self._messages(file.message_type, file, file.package, (_FILE["message"],))
        yield from self._enums(file.enum_type, file, file.package, (_FILE["enum"],))
        for service in self._each("service", file.service, file, file.package, (_FILE["service"],)):
            yield service[0]
            for rpc, _ in self._each(
                "rpc", service[0].proto.method, service[0].proto, service[0].full_name, (*service[1], 2)
            ):
                yield rpc

    def _each(
        self, kind: str, protos: Iterable[Any], parent: Any, within: str, path: tuple[int, ...]
    ) -> Iterator[tuple[Element, tuple[int, ...]]]:
        for number, proto in enumerate(protos):
            here = (*path, number)
            name = f"{within}.{proto.name}"
            yield Element(kind, self._file.name, name, self.comment(here), proto, parent), here

    def _messages(self, protos: Iterable[Any], parent: Any, within: str, path: tuple[int, ...]) -> Iterator[Element]:
        for message, here in self._each("message", protos, parent, within, path):
            proto = message.proto
            if proto.options.map_entry:  # what protoc makes of `map<…>`
                continue
            yield message
            for kind, inner in (("field", proto.field), ("oneof", _written_oneofs(proto))):
                for element, _ in self._each(kind, inner, proto, message.full_name, (*here, _MESSAGE[kind])):
                    yield element
            yield from self._messages(proto.nested_type, proto, message.full_name, (*here, _MESSAGE["message"]))
            yield from self._enums(proto.enum_type, proto, message.full_name, (*here, _MESSAGE["enum"]))

    def _enums(self, protos: Iterable[Any], parent: Any, within: str, path: tuple[int, ...]) -> Iterator[Element]:
        for enum, here in self._each("enum", protos, parent, within, path):
            yield enum
            for value, _ in self._each("value", enum.proto.value, enum.proto, enum.full_name, (*here, 2)):
                yield value


def _written_oneofs(message: Any) -> list[Any]:
    """Without those that protoc makes of `optional`; they stand behind the written ones."""
    made = {field.oneof_index for field in message.field if field.proto3_optional}
    return [oneof for number, oneof in enumerate(message.oneof_decl) if number not in made]
