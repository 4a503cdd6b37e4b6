"""The .proto files as the rules want them; every rule finds what it is there for."""

from pathlib import Path

import pytest

pytest.importorskip("grpc_tools", reason="grpcio-tools compiles the .proto files; it is not installed")

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import Parse
from tools.protos_descriptors import compile_protos
from tools.protos_lint import BASELINE, breaking_problems, published, style_problems

GOOD = """\
// Things.
syntax = "proto3";

package limbeck.v1;

// Keeps things.
service ThingService {
  // Makes a thing.
  rpc CreateThing(CreateThingRequest) returns (CreateThingResponse);
  // Reads things.
  rpc ListThings(ListThingsRequest) returns (stream ListThingsResponse);
}

// How large.
enum ThingSize {
  // Not said.
  THING_SIZE_UNSPECIFIED = 0;
  // Large.
  THING_SIZE_LARGE = 1;
}

// What to make.
message CreateThingRequest {
  // A mark.
  string request_id = 1;
  // One of these.
  oneof kind {
    // A number.
    int32 number = 2;
    // A text.
    string text = 3;
  }
  // By name.
  map<string, int64> counts = 4;
  // Perhaps.
  optional int32 tile = 5;
}

// It is made.
message CreateThingResponse {
  // How large.
  ThingSize size = 1;
}

// Which.
message ListThingsRequest {
  // How many.
  int32 page_size = 1;
  // From where.
  string page_token = 2;
}

// They.
message ListThingsResponse {
  // Their names.
  repeated string names = 1;
  // For the next page.
  string next_page_token = 2;
}
"""


def compiled(folder: Path, text: str, path: str = "limbeck/v1/things.proto") -> FileDescriptorSet:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return compile_protos(folder)


def changed(old: str, new: str, text: str = GOOD) -> str:
    assert old in text
    return text.replace(old, new)


def test_the_committed_files_are_as_the_rules_want_them() -> None:
    assert style_problems(compile_protos()) == []


def test_the_committed_files_break_no_client() -> None:
    before = Parse(BASELINE.read_text("utf-8"), FileDescriptorSet())
    assert breaking_problems(before, published(compile_protos())) == []


def test_a_good_file_has_no_problem(tmp_path: Path) -> None:
    assert style_problems(compiled(tmp_path, GOOD)) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("// Things.\n", "", "limbeck/v1/things.proto: it does not say what it is for"),
        ("package limbeck.v1;", "package limbeck.v2;", "its package is limbeck.v2, its folder says limbeck.v1"),
        ("// Keeps things.\n", "", "limbeck.v1.ThingService: this service has no comment"),
        ("  // Makes a thing.\n", "", "limbeck.v1.ThingService.CreateThing: this rpc has no comment"),
        ("// How large.\nenum", "enum", "limbeck.v1.ThingSize: this enum has no comment"),
        ("  // Large.\n", "", "limbeck.v1.ThingSize.THING_SIZE_LARGE: this value has no comment"),
        ("// It is made.\n", "", "limbeck.v1.CreateThingResponse: this message has no comment"),
        ("  // A mark.\n", "", "limbeck.v1.CreateThingRequest.request_id: this field has no comment"),
        ("  // One of these.\n", "", "limbeck.v1.CreateThingRequest.kind: this oneof has no comment"),
        ("ThingService", "Things", "limbeck.v1.Things: a service's name ends in Service"),
        ("string text", "string theText", "theText: the name of a field is lower_snake_case"),
        ("oneof kind", "oneof Kind", "Kind: the name of a oneof is lower_snake_case"),
        ("ThingSize", "thing_size", "limbeck.v1.thing_size: the name of a enum is PascalCase"),
        ("THING_SIZE_LARGE", "THING_SIZE_large", "the name of a value is UPPER_SNAKE_CASE"),
        ("THING_SIZE_LARGE", "LARGE", "its value LARGE should begin with THING_SIZE_"),
        ("THING_SIZE_UNSPECIFIED", "THING_SIZE_NONE", "its value 0 should be THING_SIZE_UNSPECIFIED"),
        (
            "  // Large.\n",
            "  option allow_alias = true;\n  // Big.\n  THING_SIZE_BIG = 1;\n  // Large.\n",
            "it has aliases",
        ),
        ("CreateThingResponse", "Thing", "it should use CreateThingResponse, not Thing"),
        (
            "(CreateThingRequest) returns",
            "(ListThingsRequest) returns",
            "limbeck.v1.ListThingsRequest: 2 calls use this message",
        ),
        ("page_size", "length", "its request has no page_size"),
        ("string page_token", "string start", "its request has no page_token"),
        ("next_page_token", "next", "its response has no next_page_token"),
        ("request_id", "mark", "its request has no request_id"),
    ],
)
def test_what_a_rule_forbids_is_found(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert any(problem in found for found in style_problems(compiled(tmp_path, changed(old, new))))


def test_a_package_without_a_version_is_found(tmp_path: Path) -> None:
    text = changed("package limbeck.v1;", "package limbeck.things;")
    found = style_problems(compiled(tmp_path, text, "limbeck/things/things.proto"))
    assert "limbeck/things/things.proto: its package limbeck.things has no version" in found


def test_a_file_name_that_is_none_is_found(tmp_path: Path) -> None:
    found = style_problems(compiled(tmp_path, GOOD, "limbeck/v1/Things.proto"))
    assert found == ["limbeck/v1/Things.proto: a file's name is lower_snake_case"]


def test_a_public_import_is_found(tmp_path: Path) -> None:
    compiled(tmp_path, '// A.\nsyntax = "proto3";\npackage limbeck.v1;\n// B.\nmessage B {}\n', "limbeck/v1/b.proto")
    found = compiled(
        tmp_path, changed("package limbeck.v1;", 'package limbeck.v1;\nimport public "limbeck/v1/b.proto";')
    )
    assert "limbeck/v1/things.proto: an import is public" in style_problems(found)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("string request_id = 1;", "string request_id = 9;", "request_id: its number was 1, now it is 9"),
        ("string request_id", "bytes request_id", "request_id: its type was TYPE_STRING, now it is TYPE_BYTES"),
        ("string request_id", "string mark", "field limbeck.v1.CreateThingRequest.request_id was removed or renamed"),
        ("repeated string names", "string names", "names: its label was LABEL_REPEATED"),
        ("optional int32 tile", "int32 tile", "tile: its presence was True, now it is False"),
        ("map<string, int64>", "map<string, int32>", "counts: its type was TYPE_STRING to TYPE_INT64, now"),
        ("  // A mark.\n  string request_id = 1;\n", "", "request_id was removed or renamed"),
        ("  oneof kind {", "  oneof sort {", "number: its oneof was kind, now it is sort"),
        ("string request_id = 1;", 'string request_id = 1 [json_name = "mark"];', "its name in JSON was requestId"),
        ("THING_SIZE_LARGE = 1", "THING_SIZE_LARGE = 2", "THING_SIZE_LARGE: its number was 1, now it is 2"),
        ("  // Large.\n  THING_SIZE_LARGE = 1;\n", "", "THING_SIZE_LARGE was removed or renamed"),
        ("ThingSize", "Size", "enum limbeck.v1.ThingSize was removed or renamed"),
        ("ThingSize size", "int32 size", "size: its type was .limbeck.v1.ThingSize, now it is TYPE_INT32"),
        ("ThingService", "StuffService", "service limbeck.v1.ThingService was removed or renamed"),
        ("rpc ListThings", "rpc ReadThings", "rpc limbeck.v1.ThingService.ListThings was removed or renamed"),
        ("returns (stream", "returns (", "ListThings: its streaming was (False, True)"),
        ("(CreateThingRequest)", "(ListThingsRequest)", "CreateThing: its request was .limbeck.v1.CreateThingRequest"),
        ("(CreateThingResponse)", "(ListThingsResponse)", "CreateThing: its response was .limbeck.v1.CreateThingResp"),
        ("CreateThingResponse", "Made", "message limbeck.v1.CreateThingResponse was removed or renamed"),
    ],
)
def test_what_breaks_a_client_is_found(tmp_path: Path, old: str, new: str, problem: str) -> None:
    before = published(compiled(tmp_path, GOOD))
    now = published(compiled(tmp_path, changed(old, new)))
    assert any(problem in found for found in breaking_problems(before, now))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  // A mark.\n", "  // A new one.\n  int32 more = 17;\n  // A mark.\n"),
        ("  // Large.\n", "  // Huge.\n  THING_SIZE_HUGE = 2;\n  // Large.\n"),
        ("  // Makes a thing.\n", "  // Ends.\n  rpc EndThing(E) returns (E);\n  // Makes a thing.\n"),
        ("// What to make.\n", "// More.\nmessage E {}\n\n// What to make.\n"),
        ("// Keeps things.\n", "// Keeps all things.\n"),
    ],
)
def test_what_is_added_breaks_nobody(tmp_path: Path, old: str, new: str) -> None:
    text = GOOD + "// E.\nmessage E {}\n" if "(E)" in new else GOOD
    before = published(compiled(tmp_path, GOOD))
    assert breaking_problems(before, published(compiled(tmp_path, changed(old, new, text)))) == []
