"""Draw images of each class from the shipped denoiser, with guidance, step by step."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.samplers import sampler
from limbeck.models import open_models
from limbeck.pack import Pack

digits = [str(digit) for digit in range(10)]
with open_models(Pack.open("mini"), OnnxRuntime(), bucket=10) as models:
    walk = sampler("dpm++2m")
    times = walk.times(models.schedule, num_steps=12)
    latents = np.random.default_rng(0).standard_normal((10, *models.latent_shape), dtype=np.float32)
    denoise = Guided(models.denoiser, models.conditioning, scale=3.0)
    condition = models.conditioning.of_classes(digits)
    steps = walk(denoise, latents, condition, schedule=models.schedule, times=times)
    *_, latents = steps  # every step can be looked at; the last is the image
    images = models.codec.decode(latents)

row = np.concatenate((images * 255).round().astype(np.uint8).transpose(0, 2, 3, 1), axis=1)
picture = Path(tempfile.mkdtemp()) / "digits.png"
Image.fromarray(row).save(picture)
print(f"ten digits in {picture}")
