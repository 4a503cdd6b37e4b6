"""A Stable Diffusion of diffusers as optimum-onnx would have written it, so that its pipelines load it.

    model_index.json, scheduler/, tokenizer/                                    as in the source
    unet/model.onnx           sample, timestep, encoder_hidden_states           to  out_sample
    text_encoder/model.onnx   input_ids                                         to  last_hidden_state
    vae_encoder/model.onnx    sample                                            to  latent_parameters
    vae_decoder/model.onnx    latent_sample                                     to  sample

The UNet is one graph, of free height and width, with one time for all samples. Attention is `MultiHeadAttention`, which
optimum's own exports do not have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from limbeck.backends.base import GraphSpec, TensorSpec
from limbeck.errors import ExportError
from limbeck.export.codec import Decoder
from limbeck.export.diffusers_source import DiffusersSource, load_diffusers
from limbeck.export.graph import Tracing, write_graph
from limbeck.export.options import ExportOptions
from limbeck.export.parity import BATCHES, check_parity, computation, opened, random_feeds
from limbeck.export.text import TextTower
from limbeck.export.unet import TIMES, UnetTrunk
from limbeck.export.weights import round_to_half

_SIDE = 6
"""Latents are traced and compared at this height and a larger width, in units of what the UNet halves away."""


class _Parameters(nn.Module):
    """Pixels to mean and log variance of the posterior, one behind the other."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, pixels: Tensor) -> Tensor:
        parameters: Tensor = self.codec.encode(pixels).latent_dist.parameters
        return parameters


def write_layout(source: str, folder: Path, options: ExportOptions) -> Mapping[str, float]:
    """Write a pipeline in optimum-onnx's layout.

    Args:
        source: A Stable Diffusion 1 or 2 of diffusers: a local folder or a hub id.
        folder: Is there, and empty.
        options: How weights are stored.

    Returns:
        The relative error of every graph against its network, by the graph's folder.

    Raises:
        ExportError: The source has no UNet with a CLIP text encoder and an `AutoencoderKL`, or cannot be traced.
        ParityError: A graph computes something else than its network.
    """
    found = load_diffusers(source)
    if not (
        found.unet
        and found.text
        and type(found.text.network).__name__ == "CLIPTextModel"
        and found.codec
        and type(found.codec.network).__name__ == "AutoencoderKL"
    ):
        raise ExportError(
            f"'{source}' cannot be written in optimum's layout, which limbeck knows for Stable Diffusion: a "
            "UNet2DConditionModel with a CLIPTextModel and an AutoencoderKL"
        )
    unet, text, codec = found.unet.network, found.text.network, found.codec.network
    if options.weights == "float16":
        for network in (unet, text, codec):
            round_to_half(network)
    tracings = {
        "unet": _unet(unet, text.config.max_position_embeddings),
        "text_encoder": _text(text),
        "vae_encoder": _encoder(codec),
        "vae_decoder": _decoder(codec),
    }
    errors = {name: _written(name, tracing, folder, options, text) for name, tracing in tracings.items()}
    _write_configs(found, folder)
    return errors


def _written(name: str, tracing: Tracing, folder: Path, options: ExportOptions, text: Any) -> float:
    graph = write_graph(tracing, folder, name, options)
    integers = {"timestep": TIMES, "input_ids": text.config.vocab_size}
    cases = [random_feeds(tracing.spec.inputs, {**tracing.sizes, "batch_size": batch}, **integers) for batch in BATCHES]
    network = computation(tracing.network, [tensor.name for tensor in tracing.spec.outputs])
    with opened(graph, folder) as run:
        return check_parity(name, run, network, cases)


def _unet(unet: Any, tokens: int) -> Tracing:
    config = unet.config
    halvings = 2 ** (len(config.block_out_channels) - 1)
    sample = ("batch_size", config.in_channels, "height", "width")
    inputs = (
        TensorSpec("sample", "float32", sample),
        TensorSpec("timestep", "int64", ()),
        TensorSpec("encoder_hidden_states", "float32", ("batch_size", tokens, config.cross_attention_dim)),
    )
    return Tracing(
        network=UnetTrunk(unet),
        spec=GraphSpec(inputs, (TensorSpec("out_sample", "float32", sample),)),
        sizes={"batch_size": 2, "height": _SIDE * halvings, "width": 2 * _SIDE * halvings},
        multiples={"height": halvings, "width": halvings},
    )


def _text(text: Any) -> Tracing:
    tokens = text.config.max_position_embeddings
    spec = GraphSpec(
        (TensorSpec("input_ids", "int64", ("batch_size", tokens)),),
        (TensorSpec("last_hidden_state", "float32", ("batch_size", tokens, text.config.hidden_size)),),
    )
    return Tracing(network=TextTower(text, tokens), spec=spec, sizes={"batch_size": 2})


def _encoder(codec: Any) -> Tracing:
    factor, channels = _codec_shape(codec)
    pixels = TensorSpec("sample", "float32", ("batch_size", 3, "height", "width"))
    shape = ("batch_size", 2 * channels, "latent_height", "latent_width")
    parameters = TensorSpec("latent_parameters", "float32", shape)
    return Tracing(
        network=_Parameters(codec),
        spec=GraphSpec((pixels,), (parameters,)),
        sizes={"batch_size": 2, "height": _SIDE * factor, "width": 2 * _SIDE * factor},
        multiples={"height": factor, "width": factor},
    )


def _decoder(codec: Any) -> Tracing:
    _, channels = _codec_shape(codec)
    latents = TensorSpec("latent_sample", "float32", ("batch_size", channels, "latent_height", "latent_width"))
    pixels = TensorSpec("sample", "float32", ("batch_size", 3, "height", "width"))
    return Tracing(
        network=Decoder(codec),
        spec=GraphSpec((latents,), (pixels,)),
        sizes={"batch_size": 2, "latent_height": _SIDE, "latent_width": 2 * _SIDE},
    )


def _codec_shape(codec: Any) -> tuple[int, int]:
    """How far it shrinks pixels, and the channels of its latents."""
    return 2 ** (len(codec.config.block_out_channels) - 1), int(codec.config.latent_channels)


def _write_configs(found: DiffusersSource, folder: Path) -> None:
    """All that is not a graph. The fast tokenizer is named as such: it is saved as one file, which that class reads."""
    assert found.unet, "checked before"
    assert found.text, "checked before"
    assert found.codec, "checked before"
    for name, config in (
        ("unet", found.unet.config),
        ("vae_encoder", found.codec.config),
        ("vae_decoder", found.codec.config),
        ("text_encoder", found.text.network.config.to_dict()),
        ("scheduler", found.schedule),
    ):
        file = "scheduler_config.json" if name == "scheduler" else "config.json"
        _write_json(folder / name / file, {key: value for key, value in config.items() if key != "_name_or_path"})
    found.text.tokenizer.save_pretrained(folder / "tokenizer")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "safety_checker": [None, None],
        "scheduler": ["diffusers", found.schedule.get("_class_name", "DDIMScheduler")],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizerFast"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    _write_json(folder / "model_index.json", index)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, default=list) + "\n", encoding="utf-8")
