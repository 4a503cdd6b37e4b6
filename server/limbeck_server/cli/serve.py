"""`limbeck serve`: the server, until it is told to end."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from limbeck.errors import ConfigError
from limbeck_server.cli.report import reporting
from limbeck_server.settings import ServerSettings


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
    flags = {
        "root": root,
        "address": address,
        "metrics_address": metrics_address,
        "devices": device,
        "threads": threads,
        "packs": pack,
        "data_roots": data_root,
        "budget": budget,
        "tokens": tokens,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "insecure": insecure,
        "log_format": log_format,
    }
    with reporting(as_json=False):
        for package in ("grpc", "prometheus_client", "jinja2", "aiohttp"):
            if find_spec(package) is None:
                raise ConfigError(f"the server needs the package '{package}': pip install 'limbeck[server]'")
        settings = ServerSettings.read(config, flags)
    # the front is a process without the command line's packages; it keeps this one's id, so that signals reach it
    os.execv(sys.executable, [sys.executable, "-m", "limbeck_server.front", settings.model_dump_json()])
