"""How `limbeck jobs` reaches a server: the options that its commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, get_type_hints

import typer

from limbeck.errors import ConfigError
from limbeck_server.cli.report import JsonOption, Report, reporting

if TYPE_CHECKING:
    from limbeck_server.client import Client

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
JobArgument = Annotated[str, typer.Argument(help="The job, as `limbeck jobs list` names it.")]

Command = Callable[Concatenate["Client", Report, ...], None]


def on_server(command: Command) -> Callable[..., None]:
    """The command for typer, with the options of a connection and `--json`; it is given what they make.

    Args:
        command: Its first two parameters are `client` and `report`; the others are its own options.
    """

    @wraps(command)
    def connecting(**given: Any) -> None:
        shared = {name: given.pop(name) for name in list(given) if name in options}
        with reporting(shared.pop("as_json")) as report, _connected(**shared) as client:
            command(client, report, **given)

    # a client is imported when one is made, so its name means nothing before
    hints = get_type_hints(command, localns={"Client": object}, include_extras=True)
    own = [one.replace(annotation=hints[one.name]) for one in list(signature(command).parameters.values())[2:]]
    options = signature(_options, eval_str=True).parameters
    keyword = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in (*own, *options.values())]
    # typer reads both
    connecting.__signature__ = Signature(keyword)  # type: ignore[attr-defined]
    connecting.__annotations__ = {one.name: one.annotation for one in keyword}
    return connecting


def _options(
    server: Annotated[
        str, typer.Option(envvar="LIMBECK_ADDRESS", help="The server, as host:port or unix:PATH.", show_envvar=True)
    ] = "127.0.0.1:50051",
    token_file: TokenFileOption = None,
    ca: CaOption = None,
    certificate: Annotated[
        Path | None,
        typer.Option(envvar="LIMBECK_TLS_CERTIFICATE", help="PEM: your own certificate, where one is asked."),
    ] = None,
    key: Annotated[Path | None, typer.Option(envvar="LIMBECK_TLS_KEY", help="PEM: its key.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="No TLS to another machine; whoever is between reads the token.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a call may take, and that a watched server may be away.")
    ] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """What each of the commands is asked beside its own options."""


@contextmanager
def _connected(
    *,
    server: str,
    token_file: Path | None,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    insecure: bool,
    timeout: float,
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
    client = Client(server, token=token, token_file=token_file, tls=tls, insecure=insecure, timeout_seconds=timeout)
    try:
        yield client
    finally:
        with suppress(Exception):  # the calls are done or given up; Ctrl-C must not become another error here
            client.close()


def named(collection: str, text: str) -> str:
    """A resource's name; the collection may be left out."""
    return text if "/" in text else f"{collection}/{text}"
