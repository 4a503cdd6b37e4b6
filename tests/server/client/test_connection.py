"""Where a server is and how it is reached."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the client extra is not installed")

from limbeck.errors import ConfigError
from limbeck_server.client import Client, Connection, Tls
from limbeck_server.client.connection import is_local


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("localhost:50051", True),
        ("127.0.0.1:50051", True),
        ("[::1]:50051", True),
        ("unix:run/server.sock", True),
        ("dns:///localhost:1", True),
        ("gpu:50051", False),
        ("10.0.0.1:50051", False),
        ("localhost.example.org:1", False),
        ("[2001:db8::1]:1", False),
    ],
)
def test_only_this_machine_is_local(address: str, local: bool) -> None:
    assert is_local(address) is local


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Connection(address="gpu:1", token="secret"))


def test_a_token_file_is_read_again_for_every_call(tmp_path: Path) -> None:
    path = tmp_path / "token"
    connection = Connection(address="gpu:1", token_file=path)
    path.write_text("first\n")
    assert connection.metadata() == (("authorization", "Bearer first"),)
    path.write_text("second\n")
    assert connection.metadata() == (("authorization", "Bearer second"),)


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with (
        Client("localhost:1", token_file=tmp_path / "token") as client,
        pytest.raises(ConfigError, match="token cannot be read"),
    ):
        client.server_info()


def test_a_missing_authority_is_named(tmp_path: Path) -> None:
    with Client("gpu:1", tls=Tls(tmp_path / "ca.pem")) as client, pytest.raises(ConfigError, match=r"ca\.pem"):
        client.server_info()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"token": "a", "token_file": Path("b")}, "not both"),
        ({"insecure": True, "tls": Tls()}, "of no use with insecure"),
        ({"timeout_seconds": 0}, "above 0"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Connection(address="gpu:1", **settings)  # type: ignore[arg-type]


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="together"):
        Tls(certificate=tmp_path / "me.crt")
