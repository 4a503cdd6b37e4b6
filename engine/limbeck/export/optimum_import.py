"""A Stable Diffusion that optimum-onnx exported, as the graphs of a pack.

    unet            sample, timestep, encoder_hidden_states to out_sample       trunk, whole: it takes the states
    text_encoder    input_ids to last_hidden_state                              text_encoder
    vae_encoder     sample to latent_parameters                                 encoder
    vae_decoder     latent_sample to sample                                     decoder

Inputs and outputs are renamed and cast to what a pack has; the rest of each graph stays as it was, attention included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck.backends.base import TensorSpec
from limbeck.errors import ExportError
from limbeck.export.codec import describe_codec
from limbeck.export.options import ExportOptions
from limbeck.export.port import Port, import_graph
from limbeck.export.text import write_tokenizer
from limbeck.export.unet import describe_unet, schedule_of_noise
from limbeck.pack import CodecInfo, GraphEntry, Role, UnetInfo


@dataclass(frozen=True)
class OptimumDenoiser:
    """The UNet, text encoder and tokenizer of a folder in optimum's layout, and their part of the manifest."""

    folder: Path
    tokenizer: Any
    info: UnetInfo
    schedule: Mapping[str, Any]
    states: int


@dataclass(frozen=True)
class OptimumCodec:
    """The VAE of a folder in optimum's layout, and its part of the manifest."""

    folder: Path
    info: CodecInfo


def load_optimum(folder: Path, options: ExportOptions) -> tuple[OptimumDenoiser, OptimumCodec]:
    """Read everything but the graphs.

    Raises:
        ExportError: A file is missing, or the pipeline is none that limbeck can run.
    """
    import diffusers
    import transformers

    if options.weights != "float32":
        raise ExportError(f"'{folder}' has finished graphs, whose weights stay as they are; leave --weights out")
    unet_config = _config(folder, "unet", "UNet2DConditionModel")
    codec_config = _config(folder, "vae_decoder", "AutoencoderKL")
    text = _config(folder, "text_encoder", None)
    schedule = _json(folder / "scheduler/scheduler_config.json")
    with torch.device("meta"):  # the classes, which know their own settings, without a weight
        unet = diffusers.UNet2DConditionModel.from_config(unet_config)
        codec = diffusers.AutoencoderKL.from_config(codec_config)
    try:
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
        tokens, states = int(text["max_position_embeddings"]), int(text["hidden_size"])
    except (OSError, ValueError, KeyError) as error:
        raise ExportError(f"'{folder}' has no CLIP text encoder with its tokenizer: {error}") from error
    prediction = schedule.get("prediction_type", "epsilon")
    info = describe_unet(unet, options, tokens=tokens, states=states, prediction=prediction)
    denoiser = OptimumDenoiser(
        folder, tokenizer, info.model_copy(update={"cut": False}), schedule_of_noise(schedule), states
    )
    return denoiser, OptimumCodec(folder, describe_codec(codec, codec_config, options))


def import_denoiser(denoiser: OptimumDenoiser, pack: Path, options: ExportOptions) -> dict[Role, GraphEntry]:
    """Write `text_encoder` and a whole `trunk`, each compared with the graph it was.

    Raises:
        ExportError: A graph has other inputs or outputs than optimum's.
        ParityError: A graph computes something else than before.
    """
    info = denoiser.info
    write_tokenizer(denoiser.tokenizer, pack / info.tokenizer, tokens=info.tokens)
    states = TensorSpec("states", "float32", ("batch", info.tokens, denoiser.states))
    latents = ("batch", *info.latent_shape)
    text = Port(
        folder="text_encoder",
        inputs={"input_ids": TensorSpec("token_ids", "int64", ("batch", info.tokens))},
        outputs={"last_hidden_state": (states,)},
    )
    trunk = Port(
        folder="unet",
        inputs={
            "sample": TensorSpec("latents", "float32", latents),
            "timestep": TensorSpec("timestep", "int64", ()),
            "encoder_hidden_states": states,
        },
        outputs={"out_sample": (TensorSpec("prediction", "float32", latents),)},
    )
    return {
        "text_encoder": import_graph(text, denoiser.folder, pack, options),
        "trunk": import_graph(trunk, denoiser.folder, pack, options),
    }


def import_codec(codec: OptimumCodec, pack: Path, options: ExportOptions) -> dict[Role, GraphEntry]:
    """Write `encoder` and `decoder`, each compared with the graph it was.

    Raises:
        ExportError: A graph has other inputs or outputs than optimum's.
        ParityError: A graph computes something else than before.
    """
    pixels = TensorSpec("pixels", "float32", ("batch", 3, "height", "width"))
    shape = ("batch", codec.info.latent_channels, "latent_height", "latent_width")
    latents, log_variance = (TensorSpec(name, "float32", shape) for name in ("latents", "log_variance"))
    encoder = Port(
        folder="vae_encoder", inputs={"sample": pixels}, outputs={"latent_parameters": (latents, log_variance)}
    )
    decoder = Port(folder="vae_decoder", inputs={"latent_sample": latents}, outputs={"sample": (pixels,)})
    return {
        "encoder": import_graph(encoder, codec.folder, pack, options),
        "decoder": import_graph(decoder, codec.folder, pack, options),
    }


def _config(folder: Path, part: str, kind: str | None) -> dict[str, Any]:
    """The config of a part that has a graph, of class `kind`."""
    graph = folder / part / "model.onnx"
    if not graph.is_file():
        raise ExportError(
            f"'{folder}' is no Stable Diffusion in optimum-onnx's layout: {graph} is not there; make one with "
            "`optimum-cli export onnx`"
        )
    config = _json(folder / part / "config.json")
    if kind is not None and config.get("_class_name") != kind:
        raise ExportError(f"{folder / part} is a {config.get('_class_name')}; limbeck imports a {kind} there")
    return config


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise ExportError(f"{path} must hold a JSON object; it holds {content!r:.40}")
    return content
