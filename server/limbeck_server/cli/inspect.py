"""`limbeck inspect`: what a pack or a distilled set is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from limbeck.data.distilled import MANIFEST as SET_MANIFEST
from limbeck.data.distilled import is_distilled, read_distilled
from limbeck.errors import ConfigError
from limbeck.pack import MANIFEST as PACK_MANIFEST
from limbeck.pack import DenoiserInfo, Pack, shipped_packs
from limbeck_server.cli.build import show_trials
from limbeck_server.cli.report import JsonOption, Report, reporting


def inspect(
    path: Annotated[str, typer.Argument(help="A pack folder, a shipped pack's name, or a distilled set.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a pack or a distilled set holds.

    Example: limbeck inspect mini
    """
    with reporting(as_json) as report:
        if is_distilled(Path(path)):
            _show_set(Path(path), report)
        elif path in shipped_packs() or (Path(path) / PACK_MANIFEST).is_file():
            _show_pack(Pack.open(path), report)
        else:
            raise ConfigError(
                f"'{path}' is neither a pack (with {PACK_MANIFEST}) nor a distilled set (with {SET_MANIFEST}); "
                f"shipped packs: {', '.join(shipped_packs()) or 'none'}"
            )


def _show_pack(pack: Pack, report: Report) -> None:
    info = pack.manifest
    report.event("pack", manifest=info.model_dump(mode="json"))
    classes = f", {len(info.denoiser.classes)} classes" if isinstance(info.denoiser, DenoiserInfo) else ""
    report.say(
        f"pack {info.name}: {info.image_size or '?'} px{classes}, {sum(f.nbytes for f in info.files.values()):,} bytes"
    )
    for part, source in info.sources.items():
        report.say(f"  {part}: {source} ({info.licenses.get(part, 'license not recorded')})")
    report.table(
        "graphs",
        ["role", "inputs", "outputs", "precision", "weights", "error"],
        [
            [
                role,
                "; ".join(f"{t.name} ({', '.join(map(str, t.shape))})" for t in graph.inputs),
                "; ".join(f"{t.name} ({', '.join(map(str, t.shape))})" for t in graph.outputs),
                f"{graph.precision}{_summary(graph.recipe)}",
                graph.weights,
                f"{graph.parity:.1e}",
            ]
            for role, graph in info.graphs.items()
        ],
    )
    show_trials(report, info.trials)


def _summary(recipe: Mapping[str, object]) -> str:
    """The settings of a recipe that are one value, in brackets; lists and tables are in --json."""
    shown = [f"{name}={value}" for name, value in recipe.items() if not isinstance(value, (list, dict))]
    return f" ({', '.join(shown)})" if shown else ""


def _show_set(folder: Path, report: Report) -> None:
    manifest = read_distilled(folder).manifest.model_dump(mode="json")
    report.event("distilled_set", manifest=manifest)
    report.say(json.dumps(manifest, indent=2))
