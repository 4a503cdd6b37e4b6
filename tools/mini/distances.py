"""Distances between sets of images, in the features of EfficientNet-Lite0.

Sets here have a few hundred images and features 1280 dimensions, too few for the usual Frechet distance: its
covariances would be singular. So there are two replacements, a kernel distance without that limit and a Frechet
distance in few principal components.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.export.efficientnet_lite import IMAGE_SIZE, MEAN, STD, EfficientNetLite0


@torch.no_grad()
def features(network: EfficientNetLite0, images: Tensor, batch: int = 32) -> Tensor:
    """Features of shape (count, 1280) of images in [-1, 1], brought to the network's 224 pixels."""
    parts = []
    for part in images.split(batch):
        large = F.interpolate(part, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", align_corners=False)
        parts.append(network(((large.clamp(-1, 1) + 1) / 2 - MEAN) / STD))
    return torch.cat(parts)


def load_network(path: Path) -> EfficientNetLite0:
    """The pack's backbone, from its safetensors file."""
    return EfficientNetLite0.from_file(path).eval().requires_grad_(False)


def kernel_distance(some: Tensor, others: Tensor, *, subset: int = 200, rounds: int = 50) -> tuple[float, float]:
    """Unbiased squared kernel distance (KID; cubic polynomial kernel), mean and deviation over random subsets.

    Zero in expectation for two draws of one distribution, so single values may be slightly negative.
    """
    generator = torch.Generator().manual_seed(0)
    values = []
    for _ in range(rounds):
        x = some[torch.randperm(len(some), generator=generator)[:subset]].double()
        y = others[torch.randperm(len(others), generator=generator)[:subset]].double()
        within = _off_diagonal_mean(_cubic(x, x)) + _off_diagonal_mean(_cubic(y, y))
        values.append(within - 2 * _cubic(x, y).mean())
    drawn = torch.stack(values)
    return float(drawn.mean()), float(drawn.std())


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _off_diagonal_mean(kernel: Tensor) -> Tensor:
    count = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))


@dataclass(frozen=True, kw_only=True)
class PrincipalFrechet:
    """Frechet distance between Gaussians fitted in the leading principal components of a reference set.

    Args:
        mean: Of the reference features, shape (1280,).
        axes: The components, orthonormal columns, shape (1280, components).
    """

    mean: Tensor
    axes: Tensor

    @classmethod
    def of(cls, reference: Tensor, components: int = 64) -> Self:
        """Components of `reference`, shape (count, 1280)."""
        mean = reference.double().mean(0)
        _, _, rows = torch.linalg.svd(reference.double() - mean, full_matrices=False)
        return cls(mean=mean, axes=rows[:components].T)

    def distance(self, some: Tensor, others: Tensor) -> float:
        """Squared distance; grows with noise when sets are small, so compare sets of one size only."""
        x, y = (some.double() - self.mean) @ self.axes, (others.double() - self.mean) @ self.axes
        x_cov, y_cov = torch.cov(x.T), torch.cov(y.T)
        # The trace of the product's square root, by eigenvalues: they are real and not negative.
        roots = torch.linalg.eigvals(x_cov @ y_cov).real.clamp(min=0).sqrt().sum()
        return float((x.mean(0) - y.mean(0)).square().sum() + x_cov.trace() + y_cov.trace() - 2 * roots)


def spread(values: Tensor, labels: Tensor) -> float:
    """Root mean squared distance of feature vectors to the mean of their own class."""
    squares = [(values[labels == label] - values[labels == label].mean(0)).square().sum(1) for label in labels.unique()]
    return float(torch.cat(squares).mean().sqrt())


def nearest(values: Tensor, pool: Tensor, count: int = 1, *, skip_itself: bool = False) -> tuple[Tensor, Tensor]:
    """Distances to the `count` nearest rows of `pool`, and their indices, each of shape (len(values), count).

    Args:
        values: One flat vector a row.
        pool: The same.
        count: Neighbors.
        skip_itself: `values` is `pool`, and a row is no neighbor of itself.
    """
    apart = torch.cdist(values, pool)
    if skip_itself:
        apart.fill_diagonal_(float("inf"))
    found = apart.topk(count, largest=False)
    return found.values, found.indices
