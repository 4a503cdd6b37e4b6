"""A short numeric probe: do the engines of a pack compute something right on this machine?

Both answers are known without a reference run. A codec gives back what it was given, nearly. At the last time of the
schedule a latent is almost pure noise, so the noise a denoiser must predict is the latent itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limbeck.models import Models

CODEC_LIMIT = 0.1
"""Root mean square error of the round trip, of a pixel's range: TAESD3 measures 0.01, a wrong range over 0.2."""

DENOISER_LIMIT = 0.9
"""Cosine between predicted and true noise. A trained denoiser measures over 0.98, a broken one about 0."""


@dataclass(frozen=True)
class Probe:
    """What was measured.

    Args:
        codec_error: Root mean square error of decode(encode(image)), pixels in [0, 1].
        denoiser_cosine: Cosine between the noise predicted at the last time and the latent.
    """

    codec_error: float
    denoiser_cosine: float

    @property
    def passed(self) -> bool:
        """Both within their limits."""
        return self.codec_error <= CODEC_LIMIT and self.denoiser_cosine >= DENOISER_LIMIT


def probe(models: Models) -> Probe:
    """Run one smooth image through the codec and one seeded noise through the denoiser."""
    ramp = np.linspace(0.2, 0.8, models.image_size, dtype=np.float32)
    image = np.stack([np.add.outer(ramp, ramp) / 2, np.add.outer(ramp, ramp[::-1]) / 2, np.tile(ramp, (len(ramp), 1))])
    back = models.codec.decode(models.codec.encode(image[None]))
    noise = np.random.default_rng(0).standard_normal((1, *models.latent_shape), dtype=np.float32)
    last = np.array([models.schedule.num_times - 1], np.int64)
    predicted = models.denoiser(noise, last, models.conditioning.null(1))
    cosine = float((predicted * noise).sum() / (np.linalg.norm(predicted) * np.linalg.norm(noise) + 1e-12))
    return Probe(float(np.sqrt(np.mean((back - image) ** 2))), cosine)
