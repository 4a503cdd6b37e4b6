"""The pack's denoiser: a diffusers `DiTTransformer2DModel`, built small, initialized and tied as DiT's paper does.

diffusers gives every block its own timestep and label embedder, where the original DiT has one. All
blocks share one here, so they stay equal in training and an exporter may store a single copy.
"""

from dataclasses import dataclass

import torch
from diffusers import DiTTransformer2DModel
from tools.mini.codec import LATENT_CHANNELS
from torch import Tensor, nn

NUM_CLASSES = 10
# The label that stands for "no class" in classifier-free guidance; diffusers adds its embedding itself.
NULL_CLASS = NUM_CLASSES


@dataclass(frozen=True, kw_only=True)
class DiTShape:
    """The size of the denoiser; everything else is as in DiT-XL/2.

    Args:
        heads: Attention heads.
        head_dim: Width of one head; the hidden width is `heads * head_dim`.
        depth: Transformer blocks.
        patch: Side of a token in latent pixels.
        side: Side of the latents.
    """

    heads: int = 4
    head_dim: int = 64
    depth: int = 4
    patch: int = 1
    side: int = 8


def build_dit(shape: DiTShape) -> DiTTransformer2DModel:
    """A network whose blocks each own an embedder, the form that is saved; it answers noise, then variance."""
    return DiTTransformer2DModel(
        num_attention_heads=shape.heads,
        attention_head_dim=shape.head_dim,
        in_channels=LATENT_CHANNELS,
        out_channels=2 * LATENT_CHANNELS,
        num_layers=shape.depth,
        sample_size=shape.side,
        patch_size=shape.patch,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=NUM_CLASSES,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )


def tie_embedders(model: DiTTransformer2DModel) -> None:
    """Let all blocks of `model` share the first block's embedder, and leave label dropout to the caller.

    diffusers drops labels inside every call of the embedder. A shared one is called once a block, so
    a sample would lose its label in some blocks and keep it in others.
    """
    embedder = model.transformer_blocks[0].norm1.emb
    embedder.class_embedder.dropout_prob = 0.0
    for block in model.transformer_blocks:
        block.norm1.emb = embedder


def initialize(model: DiTTransformer2DModel) -> None:
    """DiT's start: Xavier linears, small embeddings, and every modulation and the output at zero."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    patch = model.pos_embed.proj
    nn.init.xavier_uniform_(patch.weight.view(patch.weight.shape[0], -1))
    nn.init.zeros_(patch.bias)
    embedder = model.transformer_blocks[0].norm1.emb
    nn.init.normal_(embedder.class_embedder.embedding_table.weight, std=0.02)
    nn.init.normal_(embedder.timestep_embedder.linear_1.weight, std=0.02)
    nn.init.normal_(embedder.timestep_embedder.linear_2.weight, std=0.02)
    for block in model.transformer_blocks:
        nn.init.zeros_(block.norm1.linear.weight)
    nn.init.zeros_(model.proj_out_1.weight)
    nn.init.zeros_(model.proj_out_2.weight)


def drop_labels(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """`labels` with about `share` of them replaced by the null class, for classifier-free guidance."""
    dropped = torch.rand(labels.shape, generator=generator) < share
    return torch.where(dropped, NULL_CLASS, labels)


def unique_parameters(model: nn.Module) -> int:
    """Numbers to store when shared parameters are stored once."""
    return sum(parameter.numel() for parameter in model.parameters())
