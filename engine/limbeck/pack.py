"""A model pack on disk: ONNX graphs in the diffusers folder layout, and `pack.json`, which says what they are.

    mini/
      pack.json                               what this file reads and writes
      scheduler/scheduler_config.json         the noise schedule, as diffusers writes it
      transformer_conditioner/model.onnx      role `conditioner`: (timestep, class) to modulation
      transformer/model.onnx                  role `trunk`: latents and modulation to a prediction
      vae_encoder/model.onnx                  role `encoder`
      vae_decoder/model.onnx                  role `decoder`
      backbone/model.onnx                     role `backbone`

A pack may hold any part of this: a codec alone, a backbone alone. Every file is listed with its size and SHA-256;
`Pack.graph` checks them before a runtime sees the bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path, PureWindowsPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from limbeck.backends.base import Graph, GraphSpec, TensorSpec
from limbeck.errors import PackError

FORMAT = 1
MANIFEST = "pack.json"

Role = Literal["conditioner", "trunk", "encoder", "decoder", "backbone"]


def _inside(name: str) -> str:
    windows = PureWindowsPath(name)  # takes both slashes, drives and roots: all that could lead out anywhere
    if not windows.parts or ".." in windows.parts or windows.drive or windows.root or "\\" in name or "\0" in name:
        raise ValueError(f"{name!r} does not name a file inside the pack; it must be relative, with / and without ..")
    return name


PackPath = Annotated[str, AfterValidator(_inside)]
"""A file of a pack, relative to its folder, with forward slashes. A pack may come from a stranger: a name that could
lead out of the folder, on any system, is refused when the manifest is read."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorEntry(_Strict):
    """One input or output of a graph, as `TensorSpec`."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class GraphEntry(_Strict):
    """One graph of a pack.

    `parity` is the relative L2 error against the network it was exported from, measured on random input.
    `weights` is the dtype the weights are stored in; the arithmetic is float32 wherever `precision` says fp32.
    """

    file: PackPath
    external: tuple[PackPath, ...] = ()
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    precision: Literal["fp32"] = "fp32"
    weights: Literal["float32", "float16"] = "float32"
    opset: int
    parity: float


class DenoiserInfo(_Strict):
    """A class-conditional DiT cut in two graphs, `conditioner` and `trunk`.

    `latent_shape` is (channels, height, width). Class id `null_class` stands for no class. With `learned_sigma` the
    trunk's prediction has twice the channels: the noise, then the variance interpolation.
    """

    kind: Literal["dit"] = "dit"
    latent_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    null_class: int
    prediction: Literal["epsilon"] = "epsilon"
    learned_sigma: bool
    schedule: PackPath = "scheduler/scheduler_config.json"


class CodecInfo(_Strict):
    """How pixels become latents: graphs `encoder` and `decoder`, on pixels in `pixel_range`.

    A latent is `(encoder output - latent_mean) / latent_std`, one figure a channel, so that it has unit variance.
    With `has_posterior` the encoder also gives `log_variance`.
    """

    kind: Literal["tiny", "kl"]
    latent_channels: int
    downsample: int
    pixel_range: tuple[float, float] = (-1.0, 1.0)
    latent_mean: tuple[float, ...]
    latent_std: tuple[float, ...]
    has_posterior: bool = False


class BackboneInfo(_Strict):
    """A feature network: input `(pixels - mean) / std` on pixels in [0, 1], resized to `image_size` squared."""

    name: str
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    features: int


class FileEntry(_Strict):
    """Size and SHA-256 of one file of the pack."""

    nbytes: int
    sha256: str


class PackManifest(_Strict):
    """The content of `pack.json`."""

    format: Literal[1] = 1
    name: str
    sources: Mapping[str, str] = Field(default_factory=dict)
    licenses: Mapping[str, str] = Field(default_factory=dict)
    image_size: int | None = None
    denoiser: DenoiserInfo | None = None
    codec: CodecInfo | None = None
    backbone: BackboneInfo | None = None
    graphs: Mapping[Role, GraphEntry]
    files: Mapping[PackPath, FileEntry]


class Pack:
    """A pack that was opened: its folder and its manifest."""

    def __init__(self, folder: Path, manifest: PackManifest) -> None:
        """Use `Pack.open`."""
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, source: str | Path) -> Pack:
        """Open a pack folder, or a pack that limbeck ships, by name ("mini").

        Raises:
            PackError: No such pack, no `pack.json`, or one that this version cannot read.
        """
        folder = Path(source)
        if not (folder / MANIFEST).is_file():  # a folder that only shares its name with a shipped pack
            folder = shipped_packs().get(str(source), folder)
        path = folder / MANIFEST
        if not path.is_file():
            raise PackError(
                f"no pack at '{source}': {path} is not there\n"
                f"give a folder made by `limbeck export`, or a shipped pack: {', '.join(shipped_packs()) or 'none'}"
            )
        try:
            return cls(folder, PackManifest.model_validate_json(path.read_bytes()))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole file"
            raise PackError(
                f"{path} cannot be read as a pack of format {FORMAT}: {place}: {first['msg']}\n"
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
        names = (entry.file, *entry.external)
        for name in names:
            self.check_file(name)
        digests = [self.manifest.files[name].sha256 for name in names]
        digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
        return Graph(self.folder / entry.file, _spec(entry), digest)

    def check_file(self, name: str) -> None:
        """Compare one file with the manifest's size and digest.

        Raises:
            PackError: It is missing, not listed, or different.
        """
        listed = self.manifest.files.get(name)
        path = self.folder / name
        if listed is None:
            raise PackError(f"pack '{self.manifest.name}' uses {name} but does not list its digest")
        if not path.is_file():
            raise PackError(f"pack '{self.manifest.name}' lacks {path}; export it again")
        found = file_entry(path)
        if found != listed:
            raise PackError(
                f"{path} is damaged or was changed: {found.nbytes} bytes with SHA-256 {found.sha256[:16]}…, "
                f"pack.json says {listed.nbytes} bytes with {listed.sha256[:16]}…; export the pack again"
            )

    def schedule_config(self) -> dict[str, object]:
        """The diffusers scheduler config of the denoiser, as a dictionary."""
        if self.manifest.denoiser is None:
            raise PackError(f"pack '{self.manifest.name}' has no denoiser, so it has no noise schedule")
        name = self.manifest.denoiser.schedule
        self.check_file(name)
        config: dict[str, object] = json.loads((self.folder / name).read_text())
        return config

    @property
    def digest(self) -> str:
        """SHA-256 over the manifest, which holds the digest of every other file."""
        return file_entry(self.folder / MANIFEST).sha256

    def verify(self) -> int:
        """Check every file; returns how many. Raises `PackError` at the first that is wrong."""
        for name in self.manifest.files:
            self.check_file(name)
        return len(self.manifest.files)


def file_entry(path: Path) -> FileEntry:
    """Size and SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    return FileEntry(nbytes=path.stat().st_size, sha256=digest.hexdigest())


def write_manifest(folder: Path, manifest: PackManifest) -> None:
    """Write `pack.json`; the last step of making a pack."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")


def shipped_packs() -> dict[str, Path]:
    """Name and folder of every pack inside the installed package."""
    root = Path(str(files("limbeck") / "packs"))
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{MANIFEST}"))}


def _spec(entry: GraphEntry) -> GraphSpec:
    return GraphSpec(
        inputs=tuple(TensorSpec(t.name, t.dtype, t.shape) for t in entry.inputs),
        outputs=tuple(TensorSpec(t.name, t.dtype, t.shape) for t in entry.outputs),
    )
