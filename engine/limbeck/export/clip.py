"""The image tower of CLIP (Radford et al., ICML 2021) as a backbone, in the space that its images and texts share.

    image  ->  class token of the last layer  ->  the last norm, or not  ->  visual_projection

and what leads texts to the same space: `text_projection`, the matrix that the last token's state is multiplied with.
It belongs to CLIP's own text tower. Where a UNet's text encoder is that tower, as Stable Diffusion 1's is ViT-L/14's,
the pack keeps the matrix and needs no second tower.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.errors import ExportError
from limbeck.pack import BackboneInfo

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""What OpenAI's release normalizes pixels with, and those that were trained after it."""

TEXT_PROJECTION = "backbone/text_projection.npy"

_SAME_TOWER = 1e-2
"""The most that the states of two copies of a tower differ, relative: one may have been stored in float16."""


class ClipImages(nn.Module):
    """Pixels to image features."""

    def __init__(self, model: Any, *, norm: bool) -> None:
        """Take the parts of a `CLIPModel`; they are shared with it, not copied."""
        super().__init__()
        vision = model.vision_model
        self.embeddings = vision.embeddings
        self.first_norm = vision.pre_layrnorm
        self.layers = vision.encoder.layers
        self.last_norm = vision.post_layernorm if norm else nn.Identity()
        self.projection = model.visual_projection

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 3, size, size) to (batch, features)."""
        x = self.first_norm(self.embeddings(pixels))
        for layer in self.layers:
            x = layer(x, None)
        features: Tensor = self.projection(self.last_norm(x[:, 0]))
        return features


def load_clip(source: str) -> Any:
    """A `CLIPModel` of transformers in float32, from a folder or a hub repository.

    Raises:
        ExportError: There is none, or the hub cannot be reached.
    """
    import transformers

    try:
        model = transformers.CLIPModel.from_pretrained(source, dtype=torch.float32, attn_implementation="sdpa")
    except (OSError, ValueError) as error:
        raise ExportError(
            f"cannot load the CLIP '{source}': {error}\n"
            "give a folder that CLIPModel.save_pretrained wrote, or a hub id like openai/clip-vit-large-patch14"
        ) from error
    return model.float().eval()


def describe_clip(model: Any, name: str) -> BackboneInfo:
    """What the manifest says of the image tower of a `CLIPModel`."""
    return BackboneInfo(
        name=name,
        image_size=model.config.vision_config.image_size,
        mean=MEAN,
        std=STD,
        interpolation="bicubic",
        features=model.config.projection_dim,
    )


def has_text_tower(model: Any, text_encoder: Any) -> bool:
    """Whether a UNet's text encoder is the text tower of a `CLIPModel`: both make the same states of random tokens."""
    theirs, ours = text_encoder.config, model.config.text_config
    shape = ("model_type", "vocab_size", "hidden_size", "max_position_embeddings")
    if any(getattr(theirs, key, None) != getattr(ours, key) for key in shape):
        return False
    generator = torch.Generator().manual_seed(0)
    token_ids = torch.randint(ours.vocab_size, (2, ours.max_position_embeddings), generator=generator)
    with torch.no_grad():
        expected, found = (tower(token_ids).last_hidden_state for tower in (model.text_model, text_encoder))
    return bool((found - expected).norm() <= _SAME_TOWER * expected.norm())


def write_text_projection(model: Any, pack: Path) -> None:
    """Write the matrix of a `CLIPModel`, shape (states, features), float32."""
    matrix = model.text_projection.weight.detach().numpy().T
    np.save(pack / TEXT_PROJECTION, np.ascontiguousarray(matrix, np.float32))
