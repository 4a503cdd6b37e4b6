"""`limbeck verify`: is a pack or a distilled set whole?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limbeck.data.distilled import MANIFEST, verify_distilled
from limbeck.pack import Pack
from limbeck_server.cli.report import JsonOption, reporting


def verify(
    path: Annotated[str, typer.Argument(help="A pack folder, a shipped pack's name, or a distilled set.")],
    as_json: JsonOption = False,
) -> None:
    """Check digests, counts and that every image decodes.

    Example: limbeck verify distilled
    """
    with reporting(as_json) as report:
        if (Path(path) / MANIFEST).is_file():
            found = verify_distilled(Path(path))
            report.event("verified", path=path, kind="distilled set", images=found)
            report.say(f"{path}: {found} images, all as the manifest says")
        else:
            files = Pack.open(path).verify()
            report.event("verified", path=path, kind="pack", files=files)
            report.say(f"{path}: {files} files, all as pack.json says")
