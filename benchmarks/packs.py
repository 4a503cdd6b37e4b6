"""limbeck's packs of the benchmarks' networks.

    python -m benchmarks.packs fp32 --work DIR --source dit sd backbone     as `limbeck export` makes them
    python -m benchmarks.packs int8 --work DIR --source dit sd backbone     their linear layers in dynamic int8
    python -m benchmarks.packs auto --work DIR --source dit                 as `limbeck build --precision auto` does

The int8 packs pass no quality gate here: with random weights there is nothing for most of its metrics to look at. Their
error stands in the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from benchmarks.harness.machine import num_cores
from benchmarks.layout import Layout
from benchmarks.networks import Backbone, make_torchvision_importable

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.build.build import BuildOptions, build_pack
from limbeck.export.backbone import BackboneNetwork, export_backbone
from limbeck.export.options import ExportOptions
from limbeck.export.pack import export_pack, new_pack_folder
from limbeck.pack import BackboneInfo, FileEntry, GraphEntry, Pack, PackManifest, Role, file_entry, write_manifest
from limbeck.quantize.int8 import write_int8

_QUANTIZED: tuple[Role, ...] = ("conditioner", "trunk", "text_encoder", "backbone")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make packs of one precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("precision", choices=["fp32", "int8", "auto"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--source", nargs="+", default=["dit", "sd", "backbone"])
    options = parser.parse_args(arguments)
    layout = Layout(options.work)
    for source in options.source:
        out = layout.pack(source, options.precision)
        out.parent.mkdir(parents=True, exist_ok=True)
        if options.precision == "fp32":
            _export(layout, source, out)
        elif options.precision == "int8":
            _quantize(Pack.open(layout.pack(source, "fp32")), out)
        else:
            backend = OnnxRuntime(threads=num_cores())
            build_pack(Pack.open(layout.pack(source, "fp32")), out, backend, BuildOptions(precision="auto", quick=True))
        print(f"made {out}", flush=True)


def _export(layout: Layout, source: str, out: Path) -> None:
    folder = layout.work / "sources" / source
    make_torchvision_importable()
    if source != "backbone":
        export_pack([str(folder)], out)
        return
    import torch

    network = Backbone(folder, torch.float32).requires_grad_(False)
    config = json.loads((folder / "config.json").read_text())
    info = BackboneInfo(
        name=config["model_name"],
        image_size=config["img_size"],
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        interpolation="bicubic",
        features=network.network.num_features,
    )
    with new_pack_folder(out) as made:
        graphs = export_backbone(BackboneNetwork(network, info), made, ExportOptions())
        write_manifest(made, PackManifest(name=out.name, backbone=info, graphs=graphs, files=_files(made, graphs)))


def _quantize(pack: Pack, out: Path) -> None:
    manifest = pack.manifest
    roles = [role for role in get_args(Role) if role in manifest.graphs and role in _QUANTIZED]
    rewritten = {name for role in roles for name in _named(manifest.graphs[role])}
    with new_pack_folder(out) as made:
        for name in manifest.files.keys() - rewritten:
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).hardlink_to((pack.folder / name).resolve())
        graphs = dict(manifest.graphs)
        for role in roles:
            entry = manifest.graphs[role]
            recipe = write_int8(pack.folder / entry.file, made / entry.file)
            beside = (path.relative_to(made).as_posix() for path in sorted((made / entry.file).parent.iterdir()))
            graphs[role] = entry.model_copy(
                update={
                    "precision": "int8",
                    "recipe": recipe,
                    "external": tuple(name for name in beside if name != entry.file),
                }
            )
        kept = {name: manifest.files[name] for name in manifest.files.keys() - rewritten}
        write_manifest(made, manifest.model_copy(update={"graphs": graphs, "files": {**kept, **_files(made, graphs)}}))


def _files(folder: Path, graphs: Mapping[Role, GraphEntry]) -> dict[str, FileEntry]:
    return {name: file_entry(folder / name) for entry in graphs.values() for name in _named(entry)}


def _named(entry: GraphEntry) -> tuple[str, ...]:
    return (entry.file, *entry.external)


if __name__ == "__main__":
    main()
