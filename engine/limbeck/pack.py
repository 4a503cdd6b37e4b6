"""A model pack on disk: ONNX graphs in the diffusers folder layout, and `pack.json`, which says what they are.

    mini/
      pack.json                               what this file reads and writes
      scheduler/scheduler_config.json         the noise schedule, as diffusers writes it
      transformer_conditioner/model.onnx      role `conditioner`: (timestep, class) to modulation
      transformer/model.onnx                  role `trunk`: latents and modulation to a prediction
      vae_encoder/model.onnx                  role `encoder`
      vae_decoder/model.onnx                  role `decoder`
      backbone/model.onnx                     role `backbone`
      backbone/gradient.onnx                  role `gradient`, and `flow_gradient` beside it: on the backbone's weights
      backbone/text_projection.npy            of a CLIP: states of texts to the space of the backbone's features

A UNet has instead:

      tokenizer/tokenizer.json                prompts to token ids, padding and truncation included
      text_encoder/model.onnx                 role `text_encoder`: token ids to states
      unet_conditioner/model.onnx             role `conditioner`: states to keys and values of every cross attention
      unet/model.onnx                         role `trunk`: latents, timestep, keys and values to a prediction

A pack may hold any part of this: a codec alone, a backbone alone. Every file is listed with its size and SHA-256;
`Pack.graph` checks them before a runtime sees the bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from limbeck.backends.base import Graph, GraphSpec, TensorSpec
from limbeck.backends.key import canonical_json
from limbeck.errors import PackError
from limbeck.pack_parts import (
    NAME,
    BackboneInfo,
    CodecInfo,
    Count,
    DenoiserInfo,
    DenoiserPart,
    PackPath,
    Role,
    Strict,
    UnetInfo,
)
from limbeck.precision import PrecisionName

__all__ = [
    "MANIFEST",
    "NAME",
    "BackboneInfo",
    "BuildTrial",
    "CodecInfo",
    "DenoiserInfo",
    "DenoiserPart",
    "FileEntry",
    "GraphEntry",
    "Pack",
    "PackManifest",
    "PackPath",
    "Role",
    "TensorEntry",
    "UnetInfo",
    "file_entry",
    "first_problem",
    "shipped_packs",
    "write_manifest",
]

FORMAT = 1
MANIFEST = "pack.json"


class TensorEntry(Strict):
    """One input or output of a graph, as `TensorSpec`."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Canonical(Strict):
    """What a graph computes, whatever its parts are called: see `limbeck.backends.canonical`.

    `files` is the digest of the files that `digest` was taken of; of other files it says nothing.
    """

    digest: str
    files: str


class GraphEntry(Strict):
    """One graph of a pack.

    `parity` is the relative L2 error against the network it was exported from, measured on random input.
    `weights` is the dtype the large weights are stored in; the arithmetic is float32 wherever `precision` says fp32.
    `recipe` is everything that made a graph of another precision out of the exported one: settings, seed, the
    digest of the calibration. Inputs and outputs are float32 at every precision.
    """

    file: PackPath
    external: tuple[PackPath, ...] = ()
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    precision: PrecisionName = "fp32"
    weights: Literal["float32", "float16", "int8"] = "float32"
    opset: int
    parity: float
    recipe: Mapping[str, JsonValue] = Field(default_factory=dict)
    canonical: Canonical | None = None

    def files_digest(self, files: Mapping[str, FileEntry]) -> str:
        """SHA-256 over the graph's file and its external data, as `files` lists them."""
        digests = [files[name].sha256 for name in (self.file, *self.external)]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


class BuildTrial(Strict):
    """One candidate that `limbeck build` measured for a role, kept or refused.

    `reason` says in a sentence why it was kept or refused; `figures` has what was measured (names with units), and
    `limits` the thresholds that were asked, under the same names.
    """

    role: Role
    backend: str
    precision: PrecisionName
    recipe: Mapping[str, JsonValue] = Field(default_factory=dict)
    kept: bool
    reason: str
    figures: Mapping[str, float] = Field(default_factory=dict)
    limits: Mapping[str, float] = Field(default_factory=dict)


class FileEntry(Strict):
    """Size and SHA-256 of one file of the pack."""

    nbytes: int
    sha256: str


class PackManifest(Strict):
    """The content of `pack.json`."""

    format: Literal[1] = 1
    name: str
    sources: Mapping[str, str] = Field(default_factory=dict)
    licenses: Mapping[str, str] = Field(default_factory=dict)
    image_size: Count | None = None
    denoiser: Annotated[DenoiserPart, Field(discriminator="kind")] | None = None
    codec: CodecInfo | None = None
    backbone: BackboneInfo | None = None
    graphs: Mapping[Role, GraphEntry]
    trials: tuple[BuildTrial, ...] = ()
    files: Mapping[PackPath, FileEntry]

    @model_validator(mode="after")
    def _parts_have_graphs(self) -> Self:
        needed: dict[str, tuple[Role, ...]] = {}
        if self.denoiser is not None:
            needed["denoiser"] = self.denoiser.roles
        if self.codec is not None:
            needed["codec"] = ("encoder", "decoder")
        if self.backbone is not None:
            needed["backbone"] = ("backbone",)
        for part, roles in needed.items():
            lacking = [role for role in roles if role not in self.graphs]
            if lacking:
                raise ValueError(f"a {part} needs the graphs {' and '.join(roles)}; {' and '.join(lacking)} is missing")
        return self

    @model_validator(mode="after")
    def _every_file_is_listed(self) -> Self:
        used = [name for entry in self.graphs.values() for name in (entry.file, *entry.external)]
        if self.denoiser is not None:
            used += self.denoiser.files
        if self.backbone is not None:
            used += self.backbone.files
        for name in used:
            if name not in self.files:
                raise ValueError(f"it uses {name} but does not list its digest in files")
        return self

    @model_validator(mode="after")
    def _denoiser_and_codec_fit(self) -> Self:
        if self.denoiser is None or self.codec is None:
            return self
        (channels, height, width), factor = self.denoiser.latent_shape, self.codec.downsample
        if channels != self.codec.latent_channels:
            raise ValueError(
                f"the denoiser works on latents of {channels} channels, the codec makes {self.codec.latent_channels}"
            )
        if not self.image_size == height * factor == width * factor:
            raise ValueError(
                f"image_size {self.image_size} does not fit the denoiser's latents of {height} by {width}, from which "
                f"the codec makes {height * factor} by {width * factor} pixels"
            )
        return self


class Pack:
    """A pack that was opened: its folder and its manifest."""

    def __init__(self, folder: Path, manifest: PackManifest) -> None:
        """Use `Pack.open`."""
        self.folder = folder
        self.manifest = manifest
        self._found_whole: dict[str, tuple[int, ...]] = {}

    @classmethod
    def open(cls, source: str | Path) -> Pack:
        """Open a pack folder, or a pack that limbeck ships, by name ("mini").

        Raises:
            PackError: No such pack, no `pack.json`, or one that cannot be read, or not by this version.
        """
        folder = Path(source)
        try:
            if not (folder / MANIFEST).is_file():  # a folder that only shares its name with a shipped pack
                folder = shipped_packs().get(str(source), folder)
            path = folder / MANIFEST
            if not path.is_file():
                raise PackError(
                    f"no pack at '{source}': {path} is not there\n"
                    f"give a folder made by `limbeck export`, or a shipped pack: {', '.join(shipped_packs()) or 'none'}"
                )
            return cls(folder, PackManifest.model_validate_json(path.read_bytes()))
        except OSError as error:
            raise PackError(f"the pack at '{source}' cannot be read: {error}") from error
        except ValidationError as error:
            raise PackError(
                f"{path} cannot be read as a pack of format {FORMAT}: {first_problem(error)}\n"
                "export it again, or update limbeck if a newer one wrote it"
            ) from error

    def graph(self, role: Role) -> Graph:
        """The graph of `role`, its files checked against their digests.

        Raises:
            PackError: The pack has no such graph, or a file is missing or not what the manifest says.
        """
        entry = self.manifest.graphs.get(role)
        if entry is None:
            raise PackError(f"pack '{self.manifest.name}' has no {role}; it has: {', '.join(self.manifest.graphs)}")
        for name in (entry.file, *entry.external):
            self.check_file(name)
        digest = entry.files_digest(self.manifest.files)
        if entry.canonical is not None and entry.canonical.files == digest:
            digest = entry.canonical.digest
        recipe = canonical_json({"precision": entry.precision, **entry.recipe}) if entry.recipe else ""
        return Graph(
            self.folder / entry.file, _spec(entry), digest, recipe=recipe, one_by_one=entry.precision == "int8"
        )

    def check_file(self, name: str) -> None:
        """Compare one file with the manifest's size and digest; once, as long as it stays as it is on the disk.

        Raises:
            PackError: It is missing, not listed, different, or cannot be read.
        """
        listed = self.manifest.files.get(name)
        path = self.folder / name
        if listed is None:
            raise PackError(f"pack '{self.manifest.name}' uses {name} but does not list its digest")
        try:
            if not path.is_file():
                raise PackError(f"pack '{self.manifest.name}' lacks {path}; export it again")
            state = _state(path)
            if self._found_whole.get(name) == state:
                return
            found = file_entry(path)
        except OSError as error:
            raise PackError(f"pack '{self.manifest.name}' has a file that cannot be read: {error}") from error
        if found != listed:
            raise PackError(
                f"{path} is damaged or was changed: {found.nbytes} bytes with SHA-256 {found.sha256[:16]}…, "
                f"pack.json says {listed.nbytes} bytes with {listed.sha256[:16]}…; export the pack again"
            )
        self._found_whole[name] = state

    def schedule_config(self) -> dict[str, object]:
        """The diffusers scheduler config of the denoiser, as a dictionary.

        Raises:
            PackError: The pack has no denoiser, or the file is missing, damaged or no JSON object.
        """
        if self.manifest.denoiser is None:
            raise PackError(f"pack '{self.manifest.name}' has no denoiser, so it has no noise schedule")
        name = self.manifest.denoiser.schedule
        self.check_file(name)
        path = self.folder / name
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise PackError(
                f"{path} cannot be read as a scheduler config, a JSON object in UTF-8: {error}; export the pack again"
            ) from error
        if not isinstance(config, dict):
            raise PackError(f"{path} is no scheduler config: it holds {config!r:.40}, not a JSON object")
        return config

    @property
    def digest(self) -> str:
        """SHA-256 over the manifest, which holds the digest of every other file."""
        try:
            return file_entry(self.folder / MANIFEST).sha256
        except OSError as error:
            raise PackError(f"pack '{self.manifest.name}' has a manifest that cannot be read: {error}") from error

    def verify(self) -> int:
        """Check every file, also those that were found whole before; returns how many.

        Raises:
            PackError: At the first that is wrong.
        """
        self._found_whole.clear()
        for name in self.manifest.files:
            self.check_file(name)
        return len(self.manifest.files)


def _state(path: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def file_entry(path: Path) -> FileEntry:
    """Size and SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    return FileEntry(nbytes=path.stat().st_size, sha256=digest.hexdigest())


def write_manifest(folder: Path, manifest: PackManifest) -> None:
    """Write `pack.json`; the last step of making a pack."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def first_problem(error: ValidationError) -> str:
    """The first place of a manifest that is wrong, and how."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole file"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def shipped_packs() -> dict[str, Path]:
    """Name and folder of every pack inside the installed package."""
    root = Path(str(files("limbeck") / "packs"))
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{MANIFEST}"))}


def _spec(entry: GraphEntry) -> GraphSpec:
    return GraphSpec(
        inputs=tuple(TensorSpec(t.name, t.dtype, t.shape) for t in entry.inputs),
        outputs=tuple(TensorSpec(t.name, t.dtype, t.shape) for t in entry.outputs),
    )
