"""A pack's backbone: images to feature vectors, and what is known of the features back to the images.

The normalization is part of the network: EfficientNet-Lite0 loses 11 points of ImageNet accuracy under another's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from limbeck.arrays import Features, Images
from limbeck.backends.base import Backend, Graph
from limbeck.diffusion.batching import in_buckets
from limbeck.diffusion.pack_check import check_backbone, check_gradients
from limbeck.engine import Runnable, compile
from limbeck.errors import EngineError, PackError
from limbeck.memory.residency import Residency
from limbeck.pack import BackboneInfo, Pack, Role


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
        self.num_features = info.features
        self.key = engine.key
        self._engine = engine
        self._bucket = bucket
        self._mean = np.asarray(info.mean, np.float32)[:, None, None]
        self._std = np.asarray(info.std, np.float32)[:, None, None]

    def features(self, images: Images) -> Features:
        """One vector an image. `images` must already be `image_size` squared: a source reads them at that size."""
        feeds = {"pixels": self._normalized(images)}
        return in_buckets(self._engine.run, feeds, bucket=self._bucket)["features"]

    def _normalized(self, images: Images) -> Images:
        return (images - self._mean) / self._std


class GradientBackbone(PackBackbone):
    """A frozen feature network that can be differentiated with respect to its images.

    Args:
        info: Size and normalization, from the pack.
        engines: By role: `backbone`, `gradient`, `flow_gradient`.
        bucket: Images in one engine call; smaller batches are padded to it.
    """

    def __init__(self, info: BackboneInfo, engines: Mapping[Role, Runnable], *, bucket: int) -> None:
        """Keep the engines; they are closed by whoever compiled them."""
        super().__init__(info, engines["backbone"], bucket=bucket)
        self._gradient = engines["gradient"]
        self._flow_gradient = engines["flow_gradient"]

    @property
    def bucket(self) -> int:
        """Images in one engine call."""
        return self._bucket

    def vjp(self, images: Images, cotangent: Features) -> tuple[Features, Images]:
        """The features, and the gradient of `(features * cotangent).sum()` with respect to the images.

        Args:
            images: Shape (batch, 3, size, size), in [0, 1].
            cotangent: Shape (batch, dimensions).
        """
        found = in_buckets(
            self._gradient.run, {"pixels": self._normalized(images), "cotangent": cotangent}, bucket=self._bucket
        )
        return found["features"], self._of_images(found["pixel_gradient"])

    def flow_gradient(
        self, images: Images, flow: Features, membership: Features, *, divisor: float
    ) -> tuple[float, Images]:
        """The loss of statistical flow matching and its gradient with respect to the images, in one engine call.

        Args:
            images: At most `bucket` images, shape (batch, 3, size, size), in [0, 1].
            flow: The real images' flow, shape (classes, dimensions).
            membership: Shape (batch, classes): one over the number of images of its class.
            divisor: See `limbeck_kernels.flow`.

        Raises:
            EngineError: There are more images than the bucket has room for; take `features` and `vjp`.
        """
        short = self._bucket - len(images)
        if short < 0:
            raise EngineError(
                f"one call has room for {self._bucket} images, not for {len(images)}, and the loss is of all of them"
            )
        padding = np.repeat(images[-1:], short, axis=0)
        found = self._flow_gradient.run(
            {
                "pixels": self._normalized(np.concatenate([images, padding])),
                "flow": flow,
                "membership": np.concatenate([membership, np.zeros((short, membership.shape[1]), np.float32)]),
                "divisor": np.full(1, divisor, np.float32),
            }
        )
        return float(found["loss"][0]), self._of_images(found["pixel_gradient"][: len(images)])

    def _of_images(self, gradient: Images) -> Images:
        """The chain rule through the normalization."""
        return (gradient / self._std).astype(np.float32, copy=False)


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


@contextmanager
def open_gradient(pack: Pack, backend: Backend, *, bucket: int = 16) -> Iterator[GradientBackbone]:
    """The backbone of `pack` with its gradient on `backend`; it is closed at the end of the block.

    Engines are loaded when they run: a method whose whole set fits one call never loads `gradient`.

    Raises:
        PackError: The pack has no gradient graph, a file is damaged, or a graph is not what the manifest says.
        EngineError: The backend cannot be trusted with gradients, or refuses a graph.
    """
    graphs = gradient_graphs(pack)
    refuse_without_gradients(backend)
    info = pack.manifest.backbone
    assert info is not None, "a pack with gradient graphs has a backbone"
    with Residency(graphs, backend, groups=GRADIENT_GROUPS) as engines:
        yield GradientBackbone(info, engines, bucket=bucket)


GRADIENT_GROUPS: tuple[tuple[Role, ...], ...] = (("backbone", "gradient"), ("flow_gradient",))
"""Engines of a backbone with its gradient that are used in turn, and so loaded together."""


def gradient_graphs(pack: Pack) -> dict[Role, Graph]:
    """The graphs of a backbone with its gradient, each checked.

    Raises:
        PackError: The pack lacks one, a file is damaged, or a graph is not what the manifest says.
    """
    name, info = pack.manifest.name, pack.manifest.backbone
    roles: tuple[Role, ...] = tuple(role for group in GRADIENT_GROUPS for role in group)
    if info is None or not all(role in pack.manifest.graphs for role in roles):
        raise PackError(
            f"pack '{name}' has no gradient of a backbone, it has only: {', '.join(pack.manifest.graphs)}\n"
            "export one: limbeck export timm:NAME --gradient --out PACK"
        )
    graphs = {role: pack.graph(role) for role in roles}
    check_backbone(name, info, graphs["backbone"])
    check_gradients(name, info, graphs)
    return graphs


def refuse_without_gradients(backend: Backend) -> None:
    """Refuse a backend that may not be given gradient graphs.

    Raises:
        EngineError: With one that may.
    """
    if not backend.gradients:
        raise EngineError(
            f"the backend '{backend.name}' was found to compute wrong gradients without a word; run this method on "
            "onnxruntime"
        )
