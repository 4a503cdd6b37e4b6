"""A small Stable Diffusion pipeline with random weights, in the folder that diffusers would save."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START, END = "<|startoftext|>", "<|endoftext|>"
MERGES = (("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>"), ("t", "h"), ("th", "e</w>"))
"""Pairs of tokens that become one, in CLIP's notation: `</w>` ends a word."""

SCHEDULE = {
    "_class_name": "PNDMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}


SMALL_UNET: dict[str, Any] = {
    "sample_size": 16,
    "block_out_channels": (16, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 32,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
}
SMALL_CODEC: dict[str, Any] = {
    "block_out_channels": (16, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "norm_num_groups": 4,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
}

SD15_UNET: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
}
"""The settings of Stable Diffusion 1.5, as far as they decide shapes; the text tower is CLIP ViT-L/14's."""
SD15_TEXT: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
SD15_CODEC: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
}


def write_vocabulary(folder: Path) -> int:
    """Write a CLIP tokenizer in the layout of Stable Diffusion 1.5 (vocab.json, merges.txt); returns its size.

    Every byte is a token, alone and as the end of a word; a few words are whole.
    """
    folder.mkdir(parents=True)
    letters = list(_byte_letters())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in MERGES), START, END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    merges = "".join(f"{first} {second}\n" for first, second in MERGES)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {**special, "tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return len(vocabulary)


def write_pipeline(
    folder: Path,
    *,
    unet: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
    codec: dict[str, Any] | None = None,
    **schedule: object,
) -> Path:
    """Write a UNet of two levels on latents (4, 16, 16), a CLIP text tower of two layers, and a KL VAE that halves.

    Args:
        folder: To make.
        unet: Settings of the UNet that differ.
        text: The same of the text tower.
        codec: The same of the VAE.
        schedule: Keys of the scheduler's config that differ.
    """
    import diffusers
    import torch
    import transformers

    size = write_vocabulary(folder / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = {
            "text_encoder": transformers.CLIPTextModel(transformers.CLIPTextConfig(**_small_text(size) | (text or {}))),
            "unet": diffusers.UNet2DConditionModel(**SMALL_UNET | (unet or {})),
            "vae": diffusers.AutoencoderKL(**SMALL_CODEC | (codec or {})),
        }
    for name, network in networks.items():
        network.save_pretrained(folder / name)
    _name_as_published(folder / "text_encoder/model.safetensors")
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(SCHEDULE | schedule), encoding="utf-8")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def _small_text(vocabulary: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "projection_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def _name_as_published(path: Path) -> None:
    """Give a CLIP text tower's weights the names of Stable Diffusion's files, which transformers 5 writes shorter."""
    from safetensors.torch import load_file, save_file

    weights = {f"text_model.{name.removeprefix('text_model.')}": weight for name, weight in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})


def _byte_letters() -> Iterator[str]:
    """The letter that stands for each byte in a byte-level vocabulary (Radford et al. 2019): itself if it prints."""
    printed = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = 256
    for byte in range(256):
        if byte in printed:
            yield chr(byte)
        else:
            yield chr(spare)
            spare += 1
