"""The reference page of the protocol."""

import pytest

pytest.importorskip("grpc_tools", reason="grpcio-tools compiles the .proto files; it is not installed")

from tools.protos_descriptors import compile_protos
from tools.protos_docs import PAGE, page


def test_the_page_says_what_the_files_say() -> None:
    assert PAGE.read_text("utf-8") == page(compile_protos()), "run: python -m tools.protos_docs"


def test_the_page_has_every_call() -> None:
    text = PAGE.read_text("utf-8")
    for file in compile_protos().file:
        if file.package == "limbeck.v1":
            for service in file.service:
                assert all(f"`{rpc.name}`" in text for rpc in service.method)
