"""Draw images from a trained model folder, with guided DDIM in torch: to look at a run before it is exported.

python -m tools.mini_text.sample FOLDER PICTURE.png --guidance 4 --prompt "a dark photo of a hand showing {}"
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from tools.mini.codec import LATENT_CHANNELS, decode
from tools.mini.dit import NUM_CLASSES
from tools.mini.folder import ddim_scheduler
from tools.mini.sample import grid
from tools.mini_text.captions import PROMPT
from tools.mini_text.folder import TextModelFolder
from torch import Tensor


@torch.no_grad()
def draw(folder: TextModelFolder, prompts: list[str], *, guidance: float, steps: int, seed: int) -> Tensor:
    """One image a prompt, in [-1, 1]; `seed` fixes the starting noise."""
    side = folder.unet.config.sample_size
    latents = torch.randn(len(prompts), LATENT_CHANNELS, side, side, generator=torch.Generator().manual_seed(seed))
    states = folder.text.states([*prompts, *[""] * len(prompts)]).float()
    scheduler = ddim_scheduler()
    scheduler.set_timesteps(steps)
    for time in scheduler.timesteps:
        given, null = folder.unet(torch.cat([latents, latents]), time, states).sample.chunk(2)
        latents = scheduler.step(null + guidance * (given - null), time, latents).prev_sample
    return decode(folder.codec, folder.scale.restore(latents))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one picture with a row for every digit."""
    parser = argparse.ArgumentParser(description="draw a picture of samples, a row for every digit")
    parser.add_argument("folder", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--prompt", default=PROMPT.replace("{name}", "{}"), help="with {} where the digit goes")
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--per-class", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    prompts = [options.prompt.format(row // options.per_class) for row in range(NUM_CLASSES * options.per_class)]
    folder = TextModelFolder.read(options.folder)
    images = draw(folder, prompts, guidance=options.guidance, steps=options.steps, seed=options.seed)
    grid(images, columns=options.per_class).save(options.picture)


if __name__ == "__main__":
    main()
