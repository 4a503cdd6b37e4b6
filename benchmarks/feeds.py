"""Equal inputs for all contestants, from one seed: what each network meets in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Feeds = dict[str, NDArray[Any]]


def dit(batch: int, *, seed: int, side: int = 32, classes: int = 1000) -> Feeds:
    """A guided batch: the second half repeats the first half's latents and times under the null class."""
    rng = np.random.default_rng(seed)
    half = batch // 2
    latents = rng.standard_normal((half, 4, side, side), dtype=np.float32)
    times = rng.integers(0, 1000, half)
    labels = rng.integers(0, classes, half)
    return {
        "latents": np.concatenate([latents, latents]),
        "timestep": np.concatenate([times, times]).astype(np.int64),
        "class_id": np.concatenate([labels, np.full(half, classes)]).astype(np.int64),
    }


def unet(batch: int, *, seed: int, side: int = 64, tokens: int = 77, width: int = 768) -> Feeds:
    """Latents at random times, with random text states of unit variance (CLIP's end in a layer norm)."""
    rng = np.random.default_rng(seed)
    return {
        "latents": rng.standard_normal((batch, 4, side, side), dtype=np.float32),
        "timestep": rng.integers(0, 1000, batch).astype(np.int64),
        "states": rng.standard_normal((batch, tokens, width), dtype=np.float32),
    }


def vae(batch: int, *, seed: int, side: int = 32, channels: int = 4) -> Feeds:
    """Latents as the decoder takes them: unscaled, so about 5.5 times unit variance for a KL autoencoder."""
    rng = np.random.default_rng(seed)
    return {"latents": rng.standard_normal((batch, channels, side, side), dtype=np.float32) / np.float32(0.18215)}


def backbone(batch: int, *, seed: int, size: int = 224) -> Feeds:
    """Normalized pixels."""
    rng = np.random.default_rng(seed)
    return {"pixels": rng.standard_normal((batch, 3, size, size), dtype=np.float32)}
