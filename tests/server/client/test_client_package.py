"""What `limbeck.client` is, and what it says where a package is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("grpc", reason="the client extra is not installed")

import limbeck.client
import limbeck_server.client

WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)
sys.meta_path.insert(0, Without())
{code}
"""


def run_without(*missing: str, code: str) -> str:
    """What the code prints, or how it fails, where packages are missing."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing, code=code)], capture_output=True, text=True, timeout=60
    )
    return done.stdout or done.stderr.strip().splitlines()[-1]


def test_the_public_names_are_sorted() -> None:
    assert limbeck_server.client.__all__ == sorted(limbeck_server.client.__all__)


def test_limbeck_client_has_every_public_name() -> None:
    pytest.importorskip("torch", reason="two of them need torch")
    for name in limbeck_server.client.__all__:
        assert getattr(limbeck.client, name) is getattr(limbeck_server.client, name)


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        limbeck.client.nothing  # noqa: B018


def test_without_grpc_the_extra_is_named() -> None:
    assert "pip install 'limbeck[client]'" in run_without("grpc", code="import limbeck.client")


def test_without_the_status_package_the_extra_is_named() -> None:
    assert "pip install 'limbeck[client]'" in run_without("google", code="import limbeck.client")


def test_without_torch_only_its_datasets_are_missing() -> None:
    code = "from limbeck.client import Client; print('client'); from limbeck.client import DistilledDataset"
    assert run_without("torch", code=code).startswith("client")
    assert "pip install 'limbeck[evaluate]'" in run_without("torch", code=code.replace("print('client'); ", ""))


def test_the_client_loads_neither_torch_nor_a_runtime_nor_the_ledger() -> None:
    code = (
        "import limbeck.client, sys; print(sorted({'torch', 'onnxruntime', 'sklearn', 'sqlite3'} & set(sys.modules)))"
    )
    assert run_without(code=code) == "[]\n"


def test_without_grpc_the_command_line_names_the_extra() -> None:
    code = "import sys; sys.argv[1:] = ['jobs', 'list', '--json']; from limbeck_server.cli import main; main()"
    assert "pip install 'limbeck[client]'" in run_without("grpc", code=code)
