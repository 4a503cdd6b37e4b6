"""Networks with random weights, seeded: the true architectures, or small ones to try the scripts out.

Random weights say what precision does to a network of this shape, not to a trained one. Two initializations would
make every precision look perfect and are drawn again: the adaptive-norm gates of a DiT are not zero, and the
LayerScale of DINOv2, which starts at 1e-5, is drawn around one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from benchmarks.layout import Layout
from benchmarks.networks import make_torchvision_importable, timm_network
from tests.support.pipelines import SCHEDULE, write_pipeline, write_vocabulary
from torch import nn

SEED = 0
KL_LAYOUT: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
}


def write_sources(layout: Layout, networks: Sequence[str], *, small: bool) -> None:
    """Write every source that the networks need and that is not there yet, and `shapes.json`."""
    make_torchvision_importable()
    writers = {"dit": _dit, "sd": _sd, "backbone": _backbone}
    for folder in sorted({layout.source(network) for network in networks}):
        if not folder.exists():
            torch.manual_seed(SEED)
            folder.mkdir(parents=True)
            writers[folder.name](folder, small=small)
    shapes = {
        "dit": {"side": 8 if small else 32, "classes": 1000},
        "vae": {"side": 8 if small else 32},
        "unet": {"side": 16 if small else 64, "tokens": 77, "width": 32 if small else 768},
        "backbone": {"size": 28 if small else 224},
    }
    layout.shapes.write_text(json.dumps(shapes, indent=1) + "\n")


def _dit(folder: Path, *, small: bool) -> None:
    """DiT-XL/2 for 256 pixels with Stable Diffusion's autoencoder, as facebook/DiT-XL-2-256 is laid out."""
    from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel

    classes = 1000  # DiTPipeline takes 1000 for no class
    network = DiTTransformer2DModel(
        sample_size=8 if small else 32,
        num_layers=2 if small else 28,
        num_attention_heads=4 if small else 16,
        attention_head_dim=64 if small else 72,
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_embeds_ada_norm=classes,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        activation_fn="gelu-approximate",
        attention_bias=True,
    )
    first = network.transformer_blocks[0].norm1.emb.state_dict()
    for block in network.transformer_blocks[1:]:  # the published network has one embedder, which diffusers repeats
        block.norm1.emb.load_state_dict(first)
    network.save_pretrained(folder / "transformer", max_shard_size="20GB")
    channels = (32,) * 4 if small else (128, 256, 512, 512)
    codec = AutoencoderKL(**KL_LAYOUT, block_out_channels=channels, sample_size=64 if small else 256)
    codec.save_pretrained(folder / "vae")
    scheduler = DDIMScheduler(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=2e-2, beta_schedule="linear", clip_sample=False
    )
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DiTPipeline",
        "id2label": {str(label): f"class {label}" for label in range(classes)},
        "scheduler": ["diffusers", "DDIMScheduler"],
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=1))


def _sd(folder: Path, *, small: bool) -> None:
    """Stable Diffusion 1.5 as its pipeline is laid out; only the tokenizer's vocabulary is a made one."""
    if small:
        write_pipeline(folder)
        return
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    size = write_vocabulary(folder / "tokenizer")
    tower = CLIPTextConfig(  # of openai/clip-vit-large-patch14
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        hidden_act="quick_gelu",
        projection_dim=768,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )
    CLIPTextModel(tower).save_pretrained(folder / "text_encoder")
    AutoencoderKL(**KL_LAYOUT, block_out_channels=(128, 256, 512, 512), sample_size=512).save_pretrained(folder / "vae")
    network = UNet2DConditionModel(
        sample_size=64,
        cross_attention_dim=768,
        attention_head_dim=8,
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )
    network.save_pretrained(folder / "unet", max_shard_size="20GB")
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(SCHEDULE))
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
    (folder / "model_index.json").write_text(json.dumps(index, indent=1))


def _backbone(folder: Path, *, small: bool) -> None:
    """DINOv2's ViT-B/14 at 224 pixels."""
    from safetensors.torch import save_file

    config = {"model_name": "vit_base_patch14_dinov2", "img_size": 224}
    if small:
        config |= {"img_size": 28, "embed_dim": 256, "depth": 2, "num_heads": 4}
    network = timm_network(**config)
    for module in network.modules():
        gamma = getattr(module, "gamma", None)
        if isinstance(gamma, nn.Parameter):
            nn.init.uniform_(gamma, 0.5, 1.5)
    save_file(network.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
