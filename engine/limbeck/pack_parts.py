"""What a manifest says of each part of a pack: its denoiser, its codec, its backbone."""

from __future__ import annotations

from pathlib import PureWindowsPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Role = Literal[
    "conditioner",
    "trunk",
    "shallow",
    "features",
    "text_encoder",
    "encoder",
    "decoder",
    "backbone",
    "gradient",
    "flow_gradient",
]


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


class Strict(BaseModel):
    """An object of a manifest: no unknown key, no change, finite figures."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DenoiserInfo(Strict):
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


class UnetInfo(Strict):
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


class CodecInfo(Strict):
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


class BackboneInfo(Strict):
    """A feature network: input `(pixels - mean) / std` on pixels in [0, 1], resized to `image_size` squared.

    `text_projection` is there where the denoiser's text encoder was trained together with it: a matrix (states,
    features) in NumPy's format, that leads the state of a text's last token to the space of its features (CLIP).
    """

    name: str
    image_size: Count
    mean: tuple[float, float, float]
    std: tuple[Spread, Spread, Spread]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    features: Count
    text_projection: PackPath | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """What it needs beside graphs."""
        return (self.text_projection,) if self.text_projection else ()
