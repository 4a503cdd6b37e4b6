"""`limbeck tokens`: who may use a server, in the file that `limbeck serve --tokens` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from limbeck.budget import parse_nbytes
from limbeck_server.cli.report import JsonOption, reporting
from limbeck_server.trust.identity import Quotas, Scope
from limbeck_server.trust.tokens import add_token, read_tokens

app = typer.Typer(name="tokens", help="Who may use a server.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(help="The file of tokens.", show_default=False)]


@app.command(no_args_is_help=True)
def add(
    file: FileArgument,
    name: Annotated[str, typer.Argument(help="Who it is for.", show_default=False)],
    scope: Annotated[
        Literal["read", "submit", "admin"],
        typer.Option(
            help="read: look at what its owner has, and download. submit: jobs, uploads and engines too. "
            "admin: everybody's."
        ),
    ] = "submit",
    owner: Annotated[
        str | None, typer.Option(help="Whose jobs and sets it makes and sees.", show_default="itself")
    ] = None,
    max_jobs: Annotated[
        int | None, typer.Option(min=0, help="Unfinished jobs at a time.", show_default="no limit")
    ] = None,
    max_data: Annotated[
        str | None, typer.Option(help="Bytes of datasets, such as 20GiB.", show_default="no limit")
    ] = None,
    max_streams: Annotated[
        int | None, typer.Option(min=1, help="Streams at a time.", show_default="the server's")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it, once: the file keeps its digest only.

    A running server notices the change within a second.

    Example: limbeck tokens add tokens.toml cluster --scope submit --max-jobs 20
    """
    with reporting(as_json) as report:
        quotas = Quotas(
            max_unfinished_jobs=max_jobs,
            max_dataset_nbytes=None if max_data is None else parse_nbytes(max_data),
            max_streams=max_streams,
        )
        token = add_token(file, name, Scope(scope), quotas, owner)
        report.event("token", name=name, scope=scope, token=token)
        report.say(token)


@app.command("list", no_args_is_help=True)
def list_tokens(file: FileArgument, as_json: JsonOption = False) -> None:
    """Show whose tokens a file has, and what they may do.

    Example: limbeck tokens list tokens.toml
    """
    with reporting(as_json) as report:
        rows = []
        for identity in read_tokens(file).values():
            scopes = sorted(identity.scopes)
            quotas = {name: value for name, value in vars(identity.quotas).items() if value is not None}
            report.event("token", name=identity.token, owner=identity.name, scopes=scopes, quotas=quotas)
            rows.append(
                [
                    identity.token,
                    identity.name,
                    " ".join(scopes),
                    ", ".join(f"{name}={n}" for name, n in quotas.items()),
                ]
            )
        report.table(str(file), ["name", "owner", "may", "quotas"], rows)
