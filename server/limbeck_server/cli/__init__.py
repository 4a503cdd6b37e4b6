"""The command line: one file a command, wired together here.

Only this package chooses implementations; everything below takes what it needs as arguments.
"""

from __future__ import annotations

from typing import Annotated

import typer

import limbeck
from limbeck_server.cli.build import build
from limbeck_server.cli.caption import caption
from limbeck_server.cli.distill import distill
from limbeck_server.cli.doctor import doctor
from limbeck_server.cli.evaluate import evaluate
from limbeck_server.cli.export import export
from limbeck_server.cli.inspect import inspect
from limbeck_server.cli.jobs import app as jobs
from limbeck_server.cli.plan import plan
from limbeck_server.cli.serve import serve
from limbeck_server.cli.tokens import app as tokens
from limbeck_server.cli.verify import verify

app = typer.Typer(
    name="limbeck",
    help="Distill an image dataset into a few images per class, on exported engines.",
    epilog="Exit codes: 0 done, 1 unexpected, 2 settings, 3 images, 4 pack, 5 engine, 6 export, 7 output, 8 endpoint, "
    "9 server, 130 stopped.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for command in (doctor, export, build, caption, plan, distill, evaluate, inspect, verify, serve):
    app.command(no_args_is_help=command not in (doctor,))(command)
app.add_typer(jobs)
app.add_typer(tokens)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"limbeck {limbeck.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Distill an image dataset into a few images per class, on exported engines."""


def main() -> None:
    """The entry point of the `limbeck` command."""
    app()
