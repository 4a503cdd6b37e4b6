"""`limbeck export`: networks to a model pack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from limbeck.errors import ConfigError
from limbeck.pack import NAME
from limbeck_server.cli.report import JsonOption, Report, reporting
from limbeck_server.runner.interrupt import sigterm_as_ctrl_c


def export(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="A Hugging Face id or local diffusers folder, optimum:FOLDER, timm:NAME, clip:NAME, or "
            "efficientnet-lite0:FILE; one or more.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The pack folder to make; it must not exist.")],
    name: Annotated[str | None, typer.Option(help="The pack's name.", show_default="the folder's")] = None,
    weights: Annotated[
        Literal["float32", "float16"], typer.Option(help="How weights are stored; float16 halves the files.")
    ] = "float32",
    classes: Annotated[
        Path | None, typer.Option(help="Class names, one a line, if the source does not have them.")
    ] = None,
    latent_stats: Annotated[
        Path | None, typer.Option(help="JSON with latents_mean and latents_std, one figure a channel.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="Of a text-conditional UNet: what makes a class name the prompt.")] = NAME,
    null_prompt: Annotated[
        str, typer.Option(help="Of a text-conditional UNet: the prompt that guidance leads away from.")
    ] = "",
    gradient: Annotated[
        bool, typer.Option("--gradient", help="Write the backbone's gradient too, which sfm and lgm need.")
    ] = False,
    features: Annotated[
        int | None,
        typer.Option(
            metavar="BLOCK",
            help="Write the denoiser's features too, which ddps needs: of a DiT after this block, of a UNet after this "
            "up block, both from 0 (1 is usual for Stable Diffusion).",
            show_default="none",
        ),
    ] = None,
    layout: Annotated[
        Literal["pack", "optimum"],
        typer.Option(help="optimum: one Stable Diffusion, for the pipelines of optimum-onnx instead of limbeck."),
    ] = "pack",
    as_json: JsonOption = False,
) -> None:
    """Export networks to ONNX graphs in a pack.

    Each graph is compared with its torch network before the pack is written. Needs: pip install 'limbeck\\[export]'

    Example: limbeck export facebook/DiT-XL-2-256 --out packs/dit-xl
    """
    from limbeck.export.pack import ExportOptions, export_optimum, export_pack

    with reporting(as_json) as report, sigterm_as_ctrl_c():
        options = ExportOptions(
            weights=weights,
            classes=classes,
            latent_stats=latent_stats,
            prompt=prompt,
            null_prompt=null_prompt,
            gradient=gradient,
            features=features,
        )
        if layout == "optimum":
            _report_optimum(report, out, export_optimum(_only(sources), out, options=options))
            return
        manifest = export_pack(sources, out, name=name, options=options)
        for role, graph in manifest.graphs.items():
            report.event("exported", role=role, file=graph.file, parity=graph.parity, weights=graph.weights)
        report.table(
            f"pack {manifest.name} in {out}",
            ["role", "file", "weights", "relative error against torch"],
            [[role, graph.file, graph.weights, f"{graph.parity:.1e}"] for role, graph in manifest.graphs.items()],
        )


def _only(sources: list[str]) -> str:
    if len(sources) != 1:
        raise ConfigError(f"--layout optimum writes one Stable Diffusion, got {len(sources)} sources")
    return sources[0]


def _report_optimum(report: Report, out: Path, errors: Mapping[str, float]) -> None:
    for folder, parity in errors.items():
        report.event("exported", file=f"{folder}/model.onnx", parity=parity)
    rows = [[f"{folder}/model.onnx", f"{parity:.1e}"] for folder, parity in errors.items()]
    report.table(f"optimum-onnx layout in {out}", ["file", "relative error against torch"], rows)
