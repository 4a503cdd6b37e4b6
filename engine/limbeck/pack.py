"""A model pack on disk: ONNX graphs in the diffusers folder layout, and `pack.json`, which says what they are.

    mini/
      pack.json                               what this file reads and writes
      scheduler/scheduler_config.json         the noise schedule, as diffusers writes it
      transformer_conditioner/model.onnx      role `conditioner`: (timestep, class) to modulation
      transformer/model.onnx                  role `trunk`: latents and modulation to a prediction
      vae_encoder/model.onnx                  role `encoder`
      vae_decoder/model.onnx                  role `decoder`
      backbone/model.onnx                     role `backbone`

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
from pathlib import Path, PureWindowsPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from limbeck.backends.base import Graph, GraphSpec, TensorSpec
from limbeck.errors import PackError
from limbeck.precision import PrecisionName

FORMAT = 1
MANIFEST = "pack.json"

Role = Literal["conditioner", "trunk", "shallow", "text_encoder", "encoder", "decoder", "backbone"]


def _inside(name: str) -> str:
    windows = PureWindowsPath(name)  # takes both slashes, drives and roots: all that could lead out anywhere
    if not windows.parts or ".." in windows.parts or windows.drive or windows.root or "\\" in name or "\0" in name:
        raise ValueError(f"{name!r} does not name a file inside the pack; it must be relative, with / and without ..")
    return name


PackPath = Annotated[str, AfterValidator(_inside)]
"""A file of a pack, relative to its folder, with forward slashes. A pack may come from a stranger: a name that could
lead out of the folder, on any system, is refused when the manifest is read."""

NAME = "{name}"
"""Where a prompt's template has the class name."""

Count = Annotated[int, Field(ge=1)]
Spread = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TensorEntry(_Strict):
    """One input or output of a graph, as `TensorSpec`."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class GraphEntry(_Strict):
    """One graph of a pack.

    `parity` is the relative L2 error against the network it was exported from, measured on random input.
    `weights` is the dtype the weights are stored in; the arithmetic is float32 wherever `precision` says fp32.
    `recipe` is everything that made a graph of another precision out of the exported one: settings, seed, the
    digest of the calibration. Inputs and outputs are float32 at every precision.
    """

    file: PackPath
    external: tuple[PackPath, ...] = ()
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    precision: PrecisionName = "fp32"
    weights: Literal["float32", "float16"] = "float32"
    opset: int
    parity: float
    recipe: Mapping[str, JsonValue] = Field(default_factory=dict)


class BuildTrial(_Strict):
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


class DenoiserInfo(_Strict):
    """A class-conditional DiT cut in two graphs, `conditioner` and `trunk`.

    `latent_shape` is (channels, height, width). Class id `null_class` stands for no class. With `learned_sigma` the
    trunk's prediction has twice the channels: the noise, then the variance interpolation.
    """

    kind: Literal["dit"] = "dit"
    latent_shape: tuple[Count, Count, Count]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    null_class: int
    prediction: Literal["epsilon"] = "epsilon"
    learned_sigma: bool
    schedule: PackPath = "scheduler/scheduler_config.json"

    @property
    def roles(self) -> tuple[Role, ...]:
        """The graphs it needs."""
        return ("conditioner", "trunk")

    @property
    def files(self) -> tuple[str, ...]:
        """What it needs beside graphs."""
        return (self.schedule,)

    @model_validator(mode="after")
    def _null_is_no_class(self) -> Self:
        if self.null_class < len(self.classes):
            raise ValueError(
                f"null_class {self.null_class} is one of the {len(self.classes)} classes; it must be an id after them"
            )
        return self


class UnetInfo(_Strict):
    """A UNet that is conditioned on text by cross attention, with its text encoder.

    `latent_shape` is (channels, height, width); a prompt is `tokens` tokens long, padded or cut. With `cut`, the
    conditioner makes the keys and values of every cross attention, once per prompt; otherwise the trunk takes the text
    encoder's states. `prompt` makes a class name a prompt, `null_prompt` stands for no condition.
    """

    kind: Literal["unet"] = "unet"
    latent_shape: tuple[Count, Count, Count]
    prediction: Literal["epsilon", "v_prediction"] = "epsilon"
    cut: bool = True
    tokens: Count
    prompt: str = NAME
    null_prompt: str = ""
    tokenizer: PackPath = "tokenizer/tokenizer.json"
    schedule: PackPath = "scheduler/scheduler_config.json"

    @property
    def roles(self) -> tuple[Role, ...]:
        """The graphs it needs."""
        return ("text_encoder", "conditioner", "trunk") if self.cut else ("text_encoder", "trunk")

    @property
    def files(self) -> tuple[str, ...]:
        """What it needs beside graphs."""
        return (self.schedule, self.tokenizer)

    @model_validator(mode="after")
    def _prompt_names_the_class(self) -> Self:
        if NAME not in self.prompt:
            raise ValueError(f"prompt {self.prompt!r} has no {NAME}; every class would have the same prompt")
        return self


DenoiserPart = DenoiserInfo | UnetInfo
"""What a manifest may say of a denoiser; `kind` tells which."""


class CodecInfo(_Strict):
    """How pixels become latents: graphs `encoder` and `decoder`, on pixels in `pixel_range`.

    A latent is `(encoder output - latent_mean) / latent_std`, one figure a channel, so that it has unit variance.
    With `has_posterior` the encoder also gives `log_variance`.
    """

    kind: Literal["tiny", "kl"]
    latent_channels: Count
    downsample: Count
    pixel_range: tuple[float, float] = (-1.0, 1.0)
    latent_mean: tuple[float, ...]
    latent_std: tuple[Spread, ...]
    has_posterior: bool = False

    @model_validator(mode="after")
    def _figures_fit(self) -> Self:
        if not len(self.latent_mean) == len(self.latent_std) == self.latent_channels:
            raise ValueError(
                f"latent_mean has {len(self.latent_mean)} figures and latent_std {len(self.latent_std)}; "
                f"latent_channels {self.latent_channels} needs as many of each"
            )
        low, high = self.pixel_range
        if low >= high:
            raise ValueError(f"pixel_range goes from {low} to {high}; it must rise")
        return self


class BackboneInfo(_Strict):
    """A feature network: input `(pixels - mean) / std` on pixels in [0, 1], resized to `image_size` squared."""

    name: str
    image_size: Count
    mean: tuple[float, float, float]
    std: tuple[Spread, Spread, Spread]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    features: Count


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
        names = (entry.file, *entry.external)
        for name in names:
            self.check_file(name)
        digests = [self.manifest.files[name].sha256 for name in names]
        digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
        return Graph(self.folder / entry.file, _spec(entry), digest)

    def check_file(self, name: str) -> None:
        """Compare one file with the manifest's size and digest.

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
            found = file_entry(path)
        except OSError as error:
            raise PackError(f"pack '{self.manifest.name}' has a file that cannot be read: {error}") from error
        if found != listed:
            raise PackError(
                f"{path} is damaged or was changed: {found.nbytes} bytes with SHA-256 {found.sha256[:16]}…, "
                f"pack.json says {listed.nbytes} bytes with {listed.sha256[:16]}…; export the pack again"
            )

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
