"""`limbeck serve`: the server, until it is told to end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from limbeck.errors import ConfigError
from limbeck_server.cli.report import reporting

if TYPE_CHECKING:
    from limbeck_server.app import Server


def serve(
    root: Annotated[Path | None, typer.Option(help="The folder with everything that the server keeps.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings; flags win.", show_default=False)] = None,
    address: Annotated[str | None, typer.Option(help="Where gRPC is served.", show_default="127.0.0.1:50051")] = None,
    metrics_address: Annotated[
        str | None, typer.Option(help='Metrics and the web page; "" serves none.', show_default="127.0.0.1:9090")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="What a worker runs on: cpu, cuda:0; again for more workers.", show_default="cpu"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of an engine on the CPU.", show_default="one a core")
    ] = None,
    pack: Annotated[
        list[Path] | None, typer.Option(help="A pack, or a folder of packs, beside the shipped ones.")
    ] = None,
    data_root: Annotated[
        list[Path] | None, typer.Option(help="A folder below which clients may register datasets.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="The most private memory of a job, such as 4GiB.")] = None,
    tokens: Annotated[Path | None, typer.Option(help="The file of bearer tokens.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="The server's certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Clients must show a certificate of this authority.")
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Serve other machines without TLS and tokens.", show_default=False)
    ] = None,
    log_format: Annotated[
        Literal["json", "text"] | None, typer.Option(help="How log lines look.", show_default="json")
    ] = None,
) -> None:
    """Run jobs that clients submit over gRPC.

    Without tokens and TLS only this machine is served. SIGTERM ends it in order: workers stop at the end of a step,
    and what was acknowledged is continued by the next start.

    Example: limbeck serve --root /srv/limbeck --data-root /srv/photos
    """
    with reporting(as_json=False):
        server = _server(
            config,
            root=root,
            address=address,
            metrics_address=metrics_address,
            devices=device,
            threads=threads,
            packs=pack,
            data_roots=data_root,
            budget=budget,
            tokens=tokens,
            tls_certificate=tls_certificate,
            tls_key=tls_key,
            tls_client_ca=tls_client_ca,
            insecure=insecure,
            log_format=log_format,
        )
        asyncio.run(server.run())


def _server(config: Path | None, **flags: object) -> Server:
    try:
        from limbeck_server.app import Server
        from limbeck_server.operations.logs import configure_logging
    except ModuleNotFoundError as error:
        raise ConfigError(f"the server needs the package '{error.name}': pip install 'limbeck[server]'") from error
    from limbeck_server.settings import ServerSettings

    settings = ServerSettings.read(config, flags)
    configure_logging(settings.log_format)
    return Server(settings)
