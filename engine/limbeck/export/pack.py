"""`export_pack`: networks in, a pack folder out, or nothing.

Each graph is compared with its network before the pack appears under its name. Importing this module needs none
of torch, diffusers and onnx; exporting needs them all.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from limbeck.errors import ExportError, OutputError
from limbeck.export.identity import identified
from limbeck.export.options import ExportOptions
from limbeck.pack import GraphEntry, PackManifest, Role, file_entry, first_problem, write_manifest

if TYPE_CHECKING:
    from limbeck.export.sources import DenoiserSource, Networks

__all__ = ["ExportOptions", "export_optimum", "export_pack", "new_pack_folder"]

_PACKAGES = ("torch", "diffusers", "transformers", "onnx", "onnxscript", "safetensors")


def export_pack(
    sources: Sequence[str], out: Path, *, name: str | None = None, options: ExportOptions | None = None
) -> PackManifest:
    """Export the networks of `sources` into one new pack.

    Args:
        sources: Each a local diffusers folder or hub id (a pipeline with a DiT, or with a UNet and its CLIP or
            BERT text encoder, or a VAE alone), or a backbone: timm:NAME, efficientnet-lite0:FILE, mobilenetv2:FILE,
            clip:NAME, clip-unnormed:NAME.
            Together at most one denoiser, codec, backbone.
        out: The pack's folder. It appears whole, at the end.
        name: Of the pack; its folder's if not given.
        options: How weights are stored, and what the sources do not say of themselves.

    Returns:
        The manifest, as it was written to `pack.json`.

    Raises:
        ExportError: A package is missing, a source cannot be loaded, or a network cannot be exported.
        ParityError: A graph does not compute what its network does.
        OutputError: `out` exists, or cannot be written.
    """
    _check_packages()
    from limbeck.export.features import add_features
    from limbeck.export.sources import load_networks

    options = options or ExportOptions()
    with new_pack_folder(out) as folder:
        with _sources_to_blame():
            networks = load_networks(sources, options)
        if options.gradient and not networks.backbone:
            raise ExportError(
                f"gradient graphs are of a backbone, and {', '.join(sources)} has none; add one, such as timm:NAME"
            )
        graphs = _write_graphs(networks, folder, options)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        entries = {path.relative_to(folder).as_posix(): file_entry(path) for path in files}
        with _sources_to_blame():
            manifest = PackManifest(
                name=name or out.resolve().name,
                sources=networks.labels,
                licenses=options.licenses,
                image_size=networks.image_size,
                denoiser=networks.denoiser.info if networks.denoiser else None,
                codec=networks.codec.info if networks.codec else None,
                backbone=networks.backbone.info if networks.backbone else None,
                graphs={role: identified(folder, entry, entries) for role, entry in graphs.items()},
                files=entries,
            )
        write_manifest(folder, manifest)
        if options.features is not None:
            manifest = add_features(folder, block=options.features)
    return manifest


def export_optimum(source: str, out: Path, *, options: ExportOptions | None = None) -> Mapping[str, float]:
    """Export a Stable Diffusion in the layout of optimum-onnx, for its pipelines; limbeck itself runs packs.

    Args:
        source: A pipeline's local folder or hub id.
        out: The folder to make. It appears whole, at the end.
        options: How weights are stored.

    Returns:
        The relative error of every graph against its network, by the graph's folder.

    Raises:
        ExportError: A package is missing, or the source cannot be loaded, exported, or written in that layout.
        ParityError: A graph does not compute what its network does.
        OutputError: `out` exists, or cannot be written.
    """
    _check_packages()
    from limbeck.export.optimum_layout import write_layout

    with new_pack_folder(out) as folder:
        return write_layout(source, folder, options or ExportOptions())


def _check_packages() -> None:
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise ExportError(f"exporting needs the package(s) {', '.join(missing)}: pip install 'limbeck[export]'")


def _write_graphs(networks: Networks, folder: Path, options: ExportOptions) -> Mapping[Role, GraphEntry]:
    from limbeck.export.backbone import export_backbone
    from limbeck.export.clip import write_text_projection
    from limbeck.export.codec import export_codec
    from limbeck.export.optimum_import import OptimumCodec, import_codec

    graphs: dict[Role, GraphEntry] = {}
    if networks.denoiser:
        graphs |= _write_denoiser(networks.denoiser, folder, options)
        schedule = folder / networks.denoiser.info.schedule
        schedule.parent.mkdir()
        schedule.write_text(json.dumps(networks.denoiser.schedule, indent=2) + "\n", encoding="utf-8")
    if isinstance(networks.codec, OptimumCodec):
        graphs |= import_codec(networks.codec, folder, options)
    elif networks.codec:
        graphs |= export_codec(networks.codec.network, networks.codec.info, folder, options)
    if networks.backbone:
        graphs |= export_backbone(networks.backbone, folder, options)
        if networks.backbone.info.text_projection:
            write_text_projection(networks.backbone.clip, folder)
    return graphs


def _write_denoiser(denoiser: DenoiserSource, folder: Path, options: ExportOptions) -> Mapping[Role, GraphEntry]:
    from limbeck.export.dit import export_dit
    from limbeck.export.optimum_import import OptimumDenoiser, import_denoiser
    from limbeck.export.sources import UnetNetwork
    from limbeck.export.text import export_text, write_tokenizer
    from limbeck.export.unet import export_unet

    if isinstance(denoiser, OptimumDenoiser):
        return import_denoiser(denoiser, folder, options)
    if isinstance(denoiser, UnetNetwork):
        info = denoiser.info
        write_tokenizer(denoiser.tokenizer, folder / info.tokenizer, tokens=info.tokens)
        text = export_text(denoiser.text_encoder, folder, options, tokens=info.tokens)
        return text | export_unet(denoiser.unet, info, folder, options)
    return export_dit(denoiser.network, folder, options)


@contextmanager
def _sources_to_blame() -> Iterator[None]:
    """What fails inside is a source that cannot be read, or one that makes a manifest no pack may have."""
    try:
        yield
    except OSError as error:
        raise ExportError(f"a source cannot be read: {error}") from error
    except ValidationError as error:
        raise ExportError(
            f"the sources would make a pack that cannot be opened: {first_problem(error)}; "
            "check their configs, --classes and --latent-stats"
        ) from error


@contextmanager
def new_pack_folder(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its name at the end of the block, or is removed."""
    if out.exists():
        raise OutputError(f"'{out}' exists; a pack is a new folder: remove it, or choose another with --out")
    folder = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        folder.mkdir(parents=True)
        yield folder
        folder.rename(out)
    except OSError as error:
        raise OutputError(f"cannot write the pack '{out}': {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
