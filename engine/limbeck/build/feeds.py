"""Feeds for any graph of a pack, from its manifest: to time it, or to compare it where nothing better can be asked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from limbeck.arrays import Array
from limbeck.backends.base import GraphSpec
from limbeck.pack import PackManifest

_LATENT_SIDE = 8  # of packs that say no size, such as a codec alone
_CLASSES = 10  # of a loss in the graph, which are free
_IDS_BELOW = 2  # such ids exist in every vocabulary, list of classes and schedule


def symbolic_sizes(manifest: PackManifest, *, batch: int) -> dict[str, int]:
    """The size of every symbolic dimension that limbeck's exporters write."""
    factor = manifest.codec.downsample if manifest.codec else 1
    side = manifest.image_size or _LATENT_SIDE * factor
    latent = side // factor
    sides = {"height": side, "width": side, "latent_height": latent, "latent_width": latent}
    return {"batch": batch, "classes": _CLASSES, **sides}


def normal_feeds(spec: GraphSpec, sizes: Mapping[str, int], *, seed: int = 0) -> dict[str, Array]:
    """Standard normal arrays for float inputs, small ids for the others; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for tensor in spec.inputs:
        shape = [sizes[size] if isinstance(size, str) else size for size in tensor.shape]
        if tensor.dtype.startswith("float"):
            feeds[tensor.name] = rng.standard_normal(shape, dtype=np.float32).astype(tensor.dtype)
        else:
            feeds[tensor.name] = rng.integers(_IDS_BELOW, size=shape).astype(tensor.dtype)
    return feeds
