"""Text that a message can carry."""

from __future__ import annotations

from limbeck_server.rpc import worker_pb2
from limbeck_server.wire.structs import struct_of
from limbeck_server.wire.text import valid_text


def test_a_file_name_that_is_not_unicode_travels_with_its_byte_written_out() -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    assert worker_pb2.Beat(stage=valid_text(name)).stage == "caf\\udce9.png"
    assert struct_of({name: [name]})["caf\\udce9.png"][0] == "caf\\udce9.png"


def test_unicode_stays_as_it_is() -> None:
    assert valid_text("ß 猫 🐈") == "ß 猫 🐈"
