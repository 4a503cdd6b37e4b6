"""`PackBackbone`: images to feature vectors, on a pack's backbone engine.

The normalization is part of the network: EfficientNet-Lite0 loses 11 points of ImageNet accuracy under another's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from limbeck.arrays import Features, Images
from limbeck.backends.base import Backend
from limbeck.diffusion.batching import in_buckets
from limbeck.diffusion.pack_check import check_backbone
from limbeck.engine import Runnable, compile
from limbeck.errors import PackError
from limbeck.pack import BackboneInfo, Pack


class PackBackbone:
    """A frozen feature network.

    Args:
        info: Size and normalization, from the pack.
        engine: The backbone engine.
        bucket: Images in one engine call; smaller batches are padded to it.
    """

    def __init__(self, info: BackboneInfo, engine: Runnable, *, bucket: int) -> None:
        """Keep the engine; it is closed by whoever compiled it."""
        self.image_size = info.image_size
        self.key = engine.key
        self._engine = engine
        self._bucket = bucket
        self._mean = np.asarray(info.mean, np.float32)[:, None, None]
        self._std = np.asarray(info.std, np.float32)[:, None, None]

    def features(self, images: Images) -> Features:
        """One vector an image. `images` must already be `image_size` squared: a source reads them at that size."""
        feeds = {"pixels": (images - self._mean) / self._std}
        return in_buckets(self._engine.run, feeds, bucket=self._bucket)["features"]


@contextmanager
def open_backbone(pack: Pack, backend: Backend, *, bucket: int = 16) -> Iterator[PackBackbone]:
    """Compile the backbone of `pack` with `backend`; it is closed at the end of the block.

    Raises:
        PackError: The pack has no backbone, its file is damaged, or its graph is not what the manifest says.
        EngineError: The backend refuses the graph.
    """
    name, info = pack.manifest.name, pack.manifest.backbone
    if info is None:
        raise PackError(
            f"pack '{name}' has no backbone; export one beside its other sources: "
            "limbeck export SOURCE efficientnet-lite0:FILE --out PACK"
        )
    graph = pack.graph("backbone")
    check_backbone(name, info, graph)
    with compile(graph, backend) as engine:
        yield PackBackbone(info, engine, bucket=bucket)
