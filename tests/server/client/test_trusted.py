"""A server that asks for tokens and certificates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="certificates for the tests are made by the package 'cryptography'")

from limbeck_server.client import Client, DeniedError, Tls, UnreachableError
from support.certificates import Authority, Pair
from support.cli import ENVIRONMENT, limbeck
from support.live_server import LiveServer
from support.tokens import token_file

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Trusted:
    """The server's address, who signs, a client's certificate, and tokens by scope."""

    address: str
    authority: Authority
    mine: Pair
    tokens: dict[str, str]

    @property
    def tls(self) -> Tls:
        return Tls(self.authority.certificate, self.mine.certificate, self.mine.key)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusted]:
    folder = tmp_path_factory.mktemp("trusted")
    (folder / "data").mkdir()
    authority = Authority(folder)
    its, mine = authority.issue("server"), authority.issue("client")
    path, tokens = token_file(folder)
    settings = {
        "tokens": str(path),
        "tls_certificate": str(its.certificate),
        "tls_key": str(its.key),
        "tls_client_ca": str(authority.certificate),
    }
    with LiveServer(folder / "root", folder / "data", **settings) as server:
        yield Trusted(server.address, authority, mine, tokens)


def test_a_token_and_a_certificate_let_in(trusted: Trusted) -> None:
    with Client(trusted.address, token=trusted.tokens["read"], tls=trusted.tls) as client:
        assert list(client.jobs()) == []


def test_without_a_token_nobody_gets_in(trusted: Trusted) -> None:
    with Client(trusted.address, tls=trusted.tls) as client, pytest.raises(DeniedError) as denied:
        list(client.jobs())
    assert denied.value.reason == "TOKEN_MISSING"


def test_a_token_may_only_what_its_scope_says(trusted: Trusted) -> None:
    with (
        Client(trusted.address, token=trusted.tokens["read"], tls=trusted.tls) as client,
        pytest.raises(DeniedError, match="needs the scope 'submit'"),
    ):
        client.submit("random", "datasets/" + "0" * 32)


@pytest.mark.parametrize("tls", ["no certificate", "another authority", "no TLS"])
def test_a_client_that_cannot_show_or_check_a_certificate_is_not_connected(
    tls: str, trusted: Trusted, tmp_path: Path
) -> None:
    given = {
        "no certificate": Tls(trusted.authority.certificate),
        "another authority": Tls(Authority(tmp_path, "other").certificate, trusted.mine.certificate, trusted.mine.key),
        "no TLS": None,
    }[tls]
    asked = f"over TLS, trusting {given.ca}" if given else "without TLS"
    unreachable = pytest.raises(UnreachableError, match=f"was asked {asked}: if it is there")
    with Client(trusted.address, tls=given, timeout_seconds=1) as client, unreachable:
        client.server_info()


def test_the_command_line_takes_files_and_variables(trusted: Trusted, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(trusted.tokens["read"])
    environment = {
        **ENVIRONMENT,
        "LIMBECK_TLS_CA": str(trusted.authority.certificate),
        "LIMBECK_TLS_CERTIFICATE": str(trusted.mine.certificate),
        "LIMBECK_TLS_KEY": str(trusted.mine.key),
    }
    listing = ("jobs", "list", "--server", trusted.address, "--json")
    by_file = limbeck(*listing, "--token-file", secret, environment=environment, timeout=60)
    assert (by_file.code, by_file.events) == (0, [])
    by_variable = {**environment, "LIMBECK_TOKEN": trusted.tokens["read"]}
    assert limbeck(*listing, environment=by_variable, timeout=60).code == 0
    assert limbeck(*listing, environment=environment, timeout=60).error["type"] == "DeniedError"
