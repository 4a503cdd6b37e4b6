"""limbeck's packs of the benchmarks' networks: SOURCE is dit (with its autoencoder), sd or backbone.

    python -m benchmarks.packs fp32 --work DIR --source SOURCE ...           as `limbeck export` makes them
    python -m benchmarks.packs int8 --work DIR --source SOURCE ...           layers in dynamic int8
    python -m benchmarks.packs int8-static --work DIR --source SOURCE ...    Q/DQ for TensorRT, calibrated
    python -m benchmarks.packs fp16 --work DIR --source SOURCE ...           16-bit weights and arithmetic; also bf16
    python -m benchmarks.packs auto --work DIR --source SOURCE ...           as `limbeck build --precision auto` does

All but the last pass no quality gate: with random weights there is nothing for most of its metrics to look at. Their
error stands in the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from benchmarks.harness.machine import num_cores
from benchmarks.layout import Layout
from benchmarks.networks import Backbone, make_torchvision_importable
from benchmarks.prepare import example
from pydantic import JsonValue

from limbeck.arrays import Array
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.build.build import BuildOptions, build_pack
from limbeck.engine import compile
from limbeck.export.backbone import BackboneNetwork, export_backbone
from limbeck.export.options import ExportOptions
from limbeck.export.pack import export_pack, new_pack_folder
from limbeck.pack import BackboneInfo, FileEntry, GraphEntry, Pack, PackManifest, Role, file_entry, write_manifest
from limbeck.precision import PrecisionName
from limbeck.quantize.element_types import HalfName
from limbeck.quantize.half import write_half
from limbeck.quantize.int8 import write_int8
from limbeck.quantize.ranges import gather_ranges
from limbeck.quantize.static_int8 import activations, write_static_int8

SAMPLES = 4
"""Feeds that static int8 is calibrated on."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Make packs of one precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("precision", choices=["fp32", *WRITERS, "auto"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--source", nargs="+", default=["dit", "sd", "backbone"])
    options = parser.parse_args(arguments)
    layout = Layout(options.work)
    for source in options.source:
        out = layout.pack(source, options.precision)
        out.parent.mkdir(parents=True, exist_ok=True)
        if options.precision == "fp32":
            _export(layout, source, out)
        elif options.precision in WRITERS:
            _rewrite(layout, source, out, options.precision)
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


def _rewrite(layout: Layout, source: str, out: Path, precision: PrecisionName) -> None:
    writer, wanted = WRITERS[precision]
    pack = Pack.open(layout.pack(source, "fp32"))
    manifest = pack.manifest
    roles = [role for role in wanted if role in manifest.graphs]
    rewritten = {name for role in roles for name in _named(manifest.graphs[role])}
    with new_pack_folder(out) as made:
        for name in manifest.files.keys() - rewritten:
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).hardlink_to((pack.folder / name).resolve())
        graphs = dict(manifest.graphs)
        for role in roles:
            entry = manifest.graphs[role]
            recipe = writer(layout, pack, role, made / entry.file)
            beside = (path.relative_to(made).as_posix() for path in sorted((made / entry.file).parent.iterdir()))
            graphs[role] = entry.model_copy(
                update={
                    "precision": precision,
                    "recipe": recipe,
                    "external": tuple(name for name in beside if name != entry.file),
                }
            )
        kept = {name: manifest.files[name] for name in manifest.files.keys() - rewritten}
        write_manifest(made, manifest.model_copy(update={"graphs": graphs, "files": {**kept, **_files(made, graphs)}}))


def _int8(layout: Layout, pack: Pack, role: Role, out: Path) -> Recipe:
    return write_int8(pack.folder / pack.manifest.graphs[role].file, out)


def _half(layout: Layout, pack: Pack, role: Role, out: Path, *, dtype: HalfName) -> Recipe:
    return write_half(pack.folder / pack.manifest.graphs[role].file, out, dtype=dtype)


def _static(layout: Layout, pack: Pack, role: Role, out: Path) -> Recipe:
    """In the form that TensorRT takes; it is the GPU's int8."""
    graph = pack.folder / pack.manifest.graphs[role].file
    feeds = [_feeds(layout, pack, role, seed) for seed in range(1000, 1000 + SAMPLES)]
    ranges = gather_ranges(graph, activations(graph, form="tensorrt"), feeds)
    return write_static_int8(graph, out, ranges=ranges, form="tensorrt")


def _feeds(layout: Layout, pack: Pack, role: Role, seed: int) -> Mapping[str, Array]:
    """What `benchmarks.feeds` has for the role; of a trunk, together with its conditioner's outputs."""
    network = {"decoder": "vae", "backbone": "backbone"}.get(role) or str(
        pack.manifest.denoiser and pack.manifest.denoiser.kind
    )
    given: dict[str, Array] = dict(example(layout, network, seed=seed))
    wanted = [tensor.name for tensor in pack.manifest.graphs[role].inputs]
    if not given.keys() >= set(wanted):
        with compile(pack.graph("conditioner"), OnnxRuntime(threads=num_cores())) as conditioner:
            given |= conditioner.run({tensor.name: given[tensor.name] for tensor in conditioner.spec.inputs})
    return {name: given[name] for name in wanted}


def _files(folder: Path, graphs: Mapping[Role, GraphEntry]) -> dict[str, FileEntry]:
    return {name: file_entry(folder / name) for entry in graphs.values() for name in _named(entry)}


def _named(entry: GraphEntry) -> tuple[str, ...]:
    return (entry.file, *entry.external)


Recipe = dict[str, JsonValue]
WRITERS: Mapping[str, tuple[Callable[[Layout, Pack, Role, Path], Recipe], tuple[Role, ...]]] = {
    "int8": (_int8, ("conditioner", "trunk", "text_encoder", "backbone")),
    "int8-static": (_static, ("trunk", "decoder", "backbone")),
    "fp16": (partial(_half, dtype="float16"), get_args(Role)),
    "bf16": (partial(_half, dtype="bfloat16"), get_args(Role)),
}
"""How a graph is written at a precision, and the roles it is for."""


if __name__ == "__main__":
    main()
