"""`Models` with closed forms in place of networks: a Gaussian denoiser, a codec of block means, a linear backbone.

Every answer for a sample is computed from that sample alone, so a method whose result depends on what shared a batch
shows here.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from limbeck.arrays import Features, Images, Latents, Maps, Times
from limbeck.diffusion.base import Condition
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.models import Models, Part
from limbeck.testing.gaussian import GaussianDenoiser
from limbeck.testing.sources import BlockCodec, block_means
from limbeck_kernels.flow import flow_loss

IMAGE_SIZE = 16
SCHEDULE = NoiseSchedule.from_config({"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02})
PARTS: frozenset[Part] = frozenset({"denoiser", "codec", "backbone", "features", "gradient"})

_BLOCK = 4
"""Height and width of the blocks whose means the backbone sees."""


class LinearBackbone:
    """Features are a fixed linear map of the means of 4 x 4 blocks of pixels, with its exact gradient.

    Args:
        num_features: Dimensions of a feature vector.
        image_size: Height and width that it reads: not those of the images that are made, so that one cannot be
            taken for the other.
    """

    def __init__(self, *, num_features: int = 8, image_size: int = IMAGE_SIZE // 2) -> None:
        """Draw the map."""
        self.image_size = image_size
        self.num_features = num_features
        num_means = 3 * (image_size // _BLOCK) ** 2
        self.matrix = np.random.default_rng(0).standard_normal((num_means, num_features)).astype(np.float32)
        """Shape (channels * rows * columns of blocks, num_features)."""

    def features(self, images: Images) -> Features:
        assert images.shape[1:] == (3, self.image_size, self.image_size), "a backbone reads its own image size"
        rows = block_means(images, _BLOCK).reshape(len(images), -1)
        # row by row: the rounding of a matrix product depends on how many rows it has
        return np.stack([row @ self.matrix for row in rows])

    def vjp(self, images: Images, cotangent: Features) -> tuple[Features, Images]:
        """The features, and the gradient of `(features * cotangent).sum()` with respect to the pixels."""
        blocks = self.image_size // _BLOCK
        rows = np.stack([self.matrix @ row for row in cotangent]).reshape(len(images), 3, blocks, blocks)
        gradient = (rows / _BLOCK**2).repeat(_BLOCK, axis=2).repeat(_BLOCK, axis=3)
        return self.features(images), gradient.astype(np.float32)

    def flow_gradient(
        self, images: Images, flow: Features, membership: Features, *, divisor: float
    ) -> tuple[float, Images]:
        """The loss of statistical flow matching, as `limbeck_kernels.flow` has it, and its gradient to the pixels."""
        loss, slope = flow_loss(self.features(images), membership, flow.astype(np.float64), divisor)
        return loss, self.vjp(images, slope.astype(np.float32))[1]


class SquareFeatures:
    """Maps are the noised latents and their squares, scaled by the time: what a place has, wherever it lies."""

    shape = (6, 4, 4)
    """(channels, height, width) of the maps of one latent of shape (3, 4, 4)."""
    block = 1
    """As `FeatureMaps`."""

    def maps(self, latents: Latents, times: Times, condition: Condition) -> Maps:
        assert len(latents) == len(times) == len(condition), "one time and one condition a sample"
        scaled = latents * (1 + times[:, None, None, None] / 1000)
        return np.concatenate([scaled, scaled**2], axis=1).astype(np.float32)


def closed_form_models(
    *,
    bucket: int = 4,
    needs: AbstractSet[Part] = PARTS,
    means: Sequence[float] = (-1.0, 0.0, 1.0),
    std: float = 0.2,
) -> Models:
    """Models of 16 px images whose class i has latents N(means[i], std^2); classes "class 0", "class 1", …

    Args:
        bucket: Samples that share a batch.
        needs: The parts to be there; the others are absent, as in a run.
        means: The mean latent of each class.
        std: The spread within a class.
    """
    parts: dict[str, Any] = {}
    engines: dict[str, str] = {part: "closed form" for part in sorted(needs)}
    if "denoiser" in needs:
        denoiser = GaussianDenoiser.of(SCHEDULE, mean=means, std=[std] * len(means), latent_shape=(3, 4, 4))
        parts |= {"denoiser": denoiser, "conditioning": denoiser.conditioning}
        parts["schedule"] = SCHEDULE
    if "codec" in needs:
        parts["codec"] = BlockCodec()
    if needs & {"denoiser", "codec"}:
        parts["latent_shape"] = (3, 4, 4)
    if needs & {"backbone", "gradient"}:
        parts["backbone"] = LinearBackbone()
    if "features" in needs:
        parts["features"] = SquareFeatures()
    return Models(image_size=IMAGE_SIZE, bucket=bucket, engines=engines, **parts)
