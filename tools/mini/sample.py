"""Draw images from a trained model folder, with guided DDIM.

python -m tools.mini.sample FOLDER PICTURE.png --guidance 3
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DiTTransformer2DModel
from PIL import Image
from tools.mini.codec import LATENT_CHANNELS, decode
from tools.mini.dit import NULL_CLASS, NUM_CLASSES
from tools.mini.folder import ModelFolder, ddim_scheduler
from tools.mini.images import to_uint8
from torch import Tensor


def draw(
    folder: ModelFolder, labels: Tensor, *, guidance: float, steps: int, seed: int, batch: int = 125
) -> tuple[Tensor, Tensor]:
    """Images of the given classes, and their raw latents.

    Args:
        folder: The model.
        labels: Class ids, shape (count,).
        guidance: Scale of classifier-free guidance; 1 is none.
        steps: DDIM steps over the whole schedule.
        seed: Fixes the starting noise: the same for every guidance and step count.
        batch: Images at a time. Does not change the starting noise.

    Returns:
        Images in [-1, 1], shape (count, 3, height, width), and latents of shape (count, 16, side, side).
    """
    side = folder.transformer.config.sample_size
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(len(labels), LATENT_CHANNELS, side, side, generator=generator)
    parts = [
        _ddim(folder.transformer, noise, ids, guidance, steps)
        for noise, ids in zip(start.split(batch), labels.split(batch), strict=True)
    ]
    latents = folder.scale.restore(torch.cat(parts))
    return decode(folder.codec, latents), latents


@torch.no_grad()
def _ddim(model: DiTTransformer2DModel, latents: Tensor, labels: Tensor, guidance: float, steps: int) -> Tensor:
    """Standardized clean latents; only the noise half of the network's answer is used."""
    scheduler = ddim_scheduler()
    scheduler.set_timesteps(steps)
    null = torch.full_like(labels, NULL_CLASS)
    for time in scheduler.timesteps:
        if guidance == 1:
            noise = _noise(model, latents, time, labels)
        else:
            both = _noise(model, torch.cat([latents, latents]), time, torch.cat([labels, null]))
            with_class, without_class = both.chunk(2)
            noise = without_class + guidance * (with_class - without_class)
        latents = scheduler.step(noise, time, latents).prev_sample
    return latents


def _noise(model: DiTTransformer2DModel, latents: Tensor, time: Tensor, labels: Tensor) -> Tensor:
    output: Tensor = model(latents, time.expand(len(latents)), labels).sample
    return output[:, :LATENT_CHANNELS]


def grid(images: Tensor, columns: int, gap: int = 2) -> Image.Image:
    """Images of one size side by side, row by row, on white."""
    pixels = to_uint8(images)
    height, width = pixels.shape[1] + gap, pixels.shape[2] + gap
    rows = -(-len(pixels) // columns)
    sheet = np.full((rows * height - gap, columns * width - gap, 3), 255, dtype=np.uint8)
    for index, image in enumerate(pixels):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + height - gap, left : left + width - gap] = image
    return Image.fromarray(sheet)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one picture with a row for every class."""
    parser = argparse.ArgumentParser(description="draw a picture of samples, a row for every class")
    parser.add_argument("folder", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--per-class", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    labels = torch.arange(NUM_CLASSES).repeat_interleave(options.per_class)
    folder = ModelFolder.read(options.folder)
    images, _ = draw(folder, labels, guidance=options.guidance, steps=options.steps, seed=options.seed)
    grid(images, columns=options.per_class).save(options.picture)


if __name__ == "__main__":
    main()
