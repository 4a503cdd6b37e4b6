"""How `limbeck jobs` reaches a server: the options that its commands share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.errors import ConfigError

if TYPE_CHECKING:
    from limbeck_server.client import Client

ServerOption = Annotated[
    str, typer.Option(envvar="LIMBECK_ADDRESS", help="The server, as host:port or unix:PATH.", show_envvar=True)
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        envvar="LIMBECK_TOKEN_FILE",
        help="The file with the token; the token itself may be in LIMBECK_TOKEN. Never on the command line, which "
        "others can see.",
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option(envvar="LIMBECK_TLS_CA", help="PEM: who signed the server's certificate.", show_default="the usual"),
]
CertificateOption = Annotated[
    Path | None, typer.Option(envvar="LIMBECK_TLS_CERTIFICATE", help="PEM: your own certificate, where one is asked.")
]
KeyOption = Annotated[Path | None, typer.Option(envvar="LIMBECK_TLS_KEY", help="PEM: its key.")]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="No TLS to another machine; whoever is between reads the token.")
]
TimeoutOption = Annotated[
    float, typer.Option(min=0.1, help="Seconds that a call may take, and that a watched server may be away.")
]
JobArgument = Annotated[str, typer.Argument(help="The job, as `limbeck jobs list` names it.")]

DEFAULT_SERVER = "127.0.0.1:50051"


@contextmanager
def connected(
    server: str,
    token_file: Path | None,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    insecure: bool,
    timeout_seconds: float,
) -> Iterator[Client]:
    """A client for the block.

    Raises:
        ConfigError: gRPC is not installed, or the options do not fit together.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read when it is imported; what matters comes as an error
    try:
        from limbeck_server.client import Client, Tls
    except ImportError as error:
        raise ConfigError(str(error)) from error
    token = None if token_file is not None else os.environ.get("LIMBECK_TOKEN")
    tls = Tls(ca, certificate, key) if ca is not None or certificate is not None or key is not None else None
    client = Client(
        server, token=token, token_file=token_file, tls=tls, insecure=insecure, timeout_seconds=timeout_seconds
    )
    try:
        yield client
    finally:
        with suppress(Exception):  # the calls are done or given up; Ctrl-C must not become another error here
            client.close()


def named(collection: str, text: str) -> str:
    """A resource's name; the collection may be left out."""
    return text if "/" in text else f"{collection}/{text}"
