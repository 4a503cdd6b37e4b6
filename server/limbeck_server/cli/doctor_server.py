"""`limbeck doctor --server`: how a server feels."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from limbeck.errors import ConfigError, EngineError
from limbeck_server.cli.report import Report

_MARKS = {True: "good", False: "bad", None: ""}


def ask(report: Report, address: str, token_file: Path | None, ca: Path | None) -> None:
    """Show what can be found out of a server.

    Raises:
        EngineError: Something is bad.
        ConfigError: gRPC is not installed, or a file cannot be read.
    """
    try:
        from limbeck_server.operations.doctor import server_report
        from limbeck_server.operations.probe import Door
    except ModuleNotFoundError as error:
        raise ConfigError(f"asking a server needs the package '{error.name}': pip install 'limbeck[server]'") from error
    try:
        token = token_file.read_text("utf-8").strip() if token_file else os.environ.get("LIMBECK_TOKEN", "")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file {token_file} cannot be read: {error}") from error
    found = server_report(Door(address=address, ca=ca, token=token))
    for finding in found:
        report.event("finding", **asdict(finding))
    report.table(f"the server at {address}", ["what", "found", ""], [[f.what, f.found, _MARKS[f.good]] for f in found])
    if any(finding.good is False for finding in found):
        raise EngineError(f"the server at {address} does not do what it should, see the report")
