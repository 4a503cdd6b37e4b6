"""Networks of diffusers, from a local folder or the Hugging Face hub: a whole pipeline, or one model of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch

from limbeck.errors import ExportError
from limbeck.export.codec import KINDS

UNET_CLASS = "UNet2DConditionModel"
DIT_CLASSES = ("DiTTransformer2DModel", "Transformer2DModel")
"""The second is what diffusers called it before 0.29, and what the published DiT-XL/2 still says."""
TEXT_CLASSES = ("CLIPTextModel", "BertModel")

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

Value = TypeVar("Value")


@dataclass(frozen=True)
class LoadedModel:
    """A network in float32, and its `config.json` as it stands."""

    network: Any
    config: Mapping[str, Any]


@dataclass(frozen=True)
class LoadedText:
    """One of `TEXT_CLASSES` with decomposed attention, and its fast tokenizer."""

    network: Any
    tokenizer: Any

    @property
    def tokens(self) -> int:
        """Length of a prompt: what the tokenizer cuts to, and no more than the network has places for."""
        return min(int(self.network.config.max_position_embeddings), int(self.tokenizer.model_max_length))


@dataclass(frozen=True, kw_only=True)
class DiffusersSource:
    """What a pipeline or a model folder has of a pack.

    Args:
        transformer: A `DiTTransformer2DModel`.
        unet: A `UNet2DConditionModel`; comes with `text`.
        text: Its text encoder.
        codec: An `AutoencoderTiny` or `AutoencoderKL`.
        schedule: The scheduler's config, empty without a denoiser.
        id2label: Class names by id.
    """

    transformer: LoadedModel | None = None
    unet: LoadedModel | None = None
    text: LoadedText | None = None
    codec: LoadedModel | None = None
    schedule: Mapping[str, Any] = field(default_factory=dict)
    id2label: Mapping[str, str] | None = None


def load_diffusers(source: str) -> DiffusersSource:
    """Load a pipeline (a folder or hub repository with `model_index.json`), or one model (with `config.json`).

    Raises:
        ExportError: Neither is there, the hub cannot be reached, or it holds a network that limbeck cannot export.
    """
    import diffusers

    if not Path(source).is_dir() and not _HUB_ID.fullmatch(source):
        raise ExportError(
            f"'{source}' is neither a folder here nor a hub id like facebook/DiT-XL-2-256; "
            "backbones are written timm:NAME, clip:NAME or efficientnet-lite0:FILE"
        )
    index = _index(source)
    if index is None:
        config = _reach(source, lambda: diffusers.AutoencoderKL.load_config(source))
        kind = str(config.get("_class_name"))
        if kind in KINDS:
            return DiffusersSource(codec=_model(source, kind, None, config))
        raise ExportError(
            f"'{source}' is a {kind}; alone, limbeck exports {' or '.join(KINDS)}. A denoiser needs its noise "
            "schedule: give the pipeline's folder, the one with model_index.json"
        )
    return _pipeline(source, index)


def _index(source: str) -> Mapping[str, Any] | None:
    """The pipeline's `model_index.json`, None for a source that has only a `config.json`."""
    import diffusers

    if Path(source).is_dir():
        has_index = (Path(source) / "model_index.json").is_file()
        return _reach(source, lambda: diffusers.DiffusionPipeline.load_config(source)) if has_index else None
    # A repository without the file and a hub out of reach raise the same error: reading config.json next tells.
    with suppress(OSError):
        index: Mapping[str, Any] = diffusers.DiffusionPipeline.load_config(source)
        return index
    return None


def _pipeline(source: str, index: Mapping[str, Any]) -> DiffusersSource:
    import diffusers

    parts = {name: part[1] for name, part in index.items() if isinstance(part, list) and len(part) == 2 and part[1]}
    _check_classes(source, parts)
    codec = transformer = unet = text = None
    schedule: Mapping[str, Any] = {}
    if "vae" in parts:
        config = _reach(source, lambda: diffusers.AutoencoderKL.load_config(source, subfolder="vae"))
        codec = _model(source, parts["vae"], "vae", config)
    if "transformer" in parts:
        config = _reach(source, lambda: diffusers.AutoencoderKL.load_config(source, subfolder="transformer"))
        transformer = _model(source, "DiTTransformer2DModel", "transformer", config)
    if "unet" in parts:
        config = _reach(source, lambda: diffusers.AutoencoderKL.load_config(source, subfolder="unet"))
        unet = _model(source, UNET_CLASS, "unet", config)
        text = _text(source, parts["text_encoder"])
    if transformer or unet:
        schedule = _reach(source, lambda: diffusers.DDIMScheduler.load_config(source, subfolder="scheduler"))
    return DiffusersSource(
        transformer=transformer,
        unet=unet,
        text=text,
        codec=codec,
        schedule=schedule,
        id2label=index.get("id2label"),
    )


def _check_classes(source: str, parts: Mapping[str, str]) -> None:
    """Refuse a pipeline whose networks limbeck cannot export, before any weight is read."""
    denoiser = parts.get("transformer") or parts.get("unet")
    if denoiser not in (*DIT_CLASSES, UNET_CLASS, None) or parts.get("vae") not in (*KINDS, None):
        raise ExportError(
            f"'{source}' has the denoiser {denoiser} and the codec {parts.get('vae')}; limbeck exports a "
            f"DiTTransformer2DModel or a {UNET_CLASS}, with {' or '.join(KINDS)}; give the codec's own folder to "
            "export it alone"
        )
    encoders = {name: kind for name, kind in parts.items() if name.startswith("text_encoder")}
    if denoiser == UNET_CLASS and encoders not in [{"text_encoder": kind} for kind in TEXT_CLASSES]:
        found = ", ".join(f"{name} {kind}" for name, kind in encoders.items()) or "none"
        raise ExportError(
            f"'{source}' has the text encoders: {found}; limbeck exports a {UNET_CLASS} with one CLIPTextModel, as "
            "Stable Diffusion 1 and 2 have, or one BertModel"
        )


def _text(source: str, kind: str) -> LoadedText:
    import transformers

    # "eager": attention that takes the mask it is given, and traces to plain products
    settings: dict[str, Any] = {"subfolder": "text_encoder", "dtype": torch.float32, "attn_implementation": "eager"}
    if kind == "BertModel":
        settings["add_pooling_layer"] = False
    network = _reach(source, lambda: getattr(transformers, kind).from_pretrained(source, **settings))
    tokenizer_kind = transformers.BertTokenizerFast if kind == "BertModel" else transformers.CLIPTokenizer
    tokenizer = _reach(source, lambda: tokenizer_kind.from_pretrained(source, subfolder="tokenizer"))
    return LoadedText(network.float().eval(), tokenizer)


def _model(source: str, kind: str, subfolder: str | None, config: Mapping[str, Any]) -> LoadedModel:
    import diffusers

    settings = {
        "subfolder": subfolder,
        "torch_dtype": torch.float32,
        # diffusers' own default, without its warning where the package is not there
        "low_cpu_mem_usage": find_spec("accelerate") is not None,
    }
    network = _reach(source, lambda: getattr(diffusers, kind).from_pretrained(source, **settings))
    return LoadedModel(network.float().eval(), config)


def _reach(source: str, load: Callable[[], Value]) -> Value:
    try:
        return load()
    except (OSError, ValueError, NotImplementedError) as error:
        hint = (
            "the folder is incomplete, or holds a network that limbeck cannot export"
            if Path(source).is_dir()
            else "the hub has no such repository, or cannot be reached; a local diffusers folder needs no hub"
        )
        raise ExportError(f"cannot load '{source}': {error}\n{hint}") from error
