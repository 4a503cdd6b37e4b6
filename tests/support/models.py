"""`Models` with closed forms in place of networks: a Gaussian denoiser and a codec of block means."""

from __future__ import annotations

from collections.abc import Sequence

from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.models import Models
from support.gaussian import GaussianDenoiser
from support.sources import BlockCodec

SCHEDULE = NoiseSchedule.from_config({"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02})


def gaussian_models(*, bucket: int = 4, means: Sequence[float] = (-1.0, 0.0, 1.0), std: float = 0.2) -> Models:
    """Models of 16 px images whose class i has latents N(means[i], std^2); classes "class 0", "class 1", …"""
    denoiser = GaussianDenoiser.of(SCHEDULE, mean=means, std=[std] * len(means), latent_shape=(3, 4, 4))
    return Models(
        denoiser=denoiser,
        conditioning=denoiser.conditioning,
        codec=BlockCodec(),
        schedule=SCHEDULE,
        image_size=16,
        latent_shape=(3, 4, 4),
        bucket=bucket,
        engines={"denoiser": "closed form", "codec": "closed form"},
    )
