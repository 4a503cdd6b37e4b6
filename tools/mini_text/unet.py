"""The pack's denoiser: a diffusers `UNet2DConditionModel` of one resolution, small enough to train on a CPU.

Latents of side 8 leave nothing to shrink: every block works on all 64 places, with self attention over them and cross
attention to the prompt's token states.
"""

from dataclasses import dataclass

from diffusers import UNet2DConditionModel
from tools.mini.codec import LATENT_CHANNELS

STATES = 384
"""Numbers of one token's state, MiniLM's width."""


@dataclass(frozen=True, kw_only=True)
class UnetShape:
    """The size of the denoiser; everything else is as in Stable Diffusion 1.

    Args:
        width: Channels of every block, a multiple of 32.
        heads: Attention heads of every attention.
        layers: Residual blocks on the way in; the way out has one more.
        side: Side of the latents.
    """

    width: int = 128
    heads: int = 4
    layers: int = 1
    side: int = 8


def build_unet(shape: UnetShape) -> UNet2DConditionModel:
    """A network that predicts the noise of latents, given times and token states; torch's generator fills it."""
    return UNet2DConditionModel(
        sample_size=shape.side,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        block_out_channels=(shape.width,),
        layers_per_block=shape.layers,
        cross_attention_dim=STATES,
        # diffusers' name for the number of heads
        attention_head_dim=shape.heads,
    )
