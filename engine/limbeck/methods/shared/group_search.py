"""Groups of latents drawn from a class's Gaussian: the best of many, or one that is made to fit exactly.

A group is never stored to be compared: it is drawn from a stream of its own, judged and forgotten, and the winner is
drawn again. So the result does not depend on how many groups were held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Array
from limbeck.errors import ConfigError
from limbeck.methods.base import Progress
from limbeck_kernels.group_sampling import group_distances

Skew: TypeAlias = Literal["samples", "features"]
Vector = NDArray[np.float64]
Stream: TypeAlias = Callable[[int], np.random.Generator]
"""The generator of the group with this index."""

_BYTES_PER_ELEMENT = 4 + 4 * 8
"""Of a group while it is judged: itself in float32, and up to four float64 arrays of its shape."""


@dataclass(frozen=True, kw_only=True)
class GroupSearch:
    """Best-of-many sampling (D3HR, section 3.3).

    Args:
        samples: In a group.
        dimensions: Of a sample.
        num_groups: How many groups are compared.
        skew: Over which axis the skew is taken; see `D3HR.skew`.
        mean_weight: Of the mean in the distance.
        std_weight: Of the spread in it.
        skew_weight: Of the skew in it.
        scratch_bytes: The most that the groups that are judged together take.

    Raises:
        ConfigError: One group alone exceeds `scratch_bytes`.
    """

    samples: int
    dimensions: int
    num_groups: int
    skew: Skew = "samples"
    mean_weight: float = 1.0
    std_weight: float = 1.0
    skew_weight: float = 0.5
    scratch_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        """Refuse what could not hold one group."""
        if self._group_nbytes > self.scratch_bytes:
            raise ConfigError(
                f"judging a group of {self.samples} latents takes {self._group_nbytes:,} bytes; scratch_bytes allows "
                f"{self.scratch_bytes:,}: raise it, or set select=exact, which judges none"
            )

    @property
    def _group_nbytes(self) -> int:
        return self.samples * self.dimensions * _BYTES_PER_ELEMENT

    def best(self, stream: Stream, mean: Vector, std: Vector, *, stage: str) -> Generator[Progress, None, Array]:
        """Search, with the groups that are done as events, whenever those that are judged together are.

        Args:
            stream: Of each group.
            mean: Of the class, shape (dimensions,).
            std: Of the class, shape (dimensions,).
            stage: What the events call it.

        Returns:
            The group nearest to N(mean, std^2), shape (samples, dimensions), float32; the earliest of equals.
        """
        chunk = max(1, self.scratch_bytes // self._group_nbytes)
        best_index, best_distance = 0, np.inf
        for start in range(0, self.num_groups, chunk):
            indices = range(start, min(start + chunk, self.num_groups))
            distances = self._distances(np.stack([self._standard(stream(index)) for index in indices]), mean, std)
            nearest = int(np.argmin(distances))
            if distances[nearest] < best_distance:
                best_index, best_distance = indices[nearest], distances[nearest]
            yield Progress(stage, indices.stop, self.num_groups)
        return _placed(self._standard(stream(best_index)), mean, std)

    def _standard(self, rng: np.random.Generator) -> Array:
        return rng.standard_normal((self.samples, self.dimensions), dtype=np.float32)

    def _distances(self, standard: Array, mean: Vector, std: Vector) -> Vector:
        if self.samples == 1:  # no spread and no skew over one sample
            distances = self.mean_weight * np.linalg.norm(standard[:, 0] * std, axis=1)
        else:
            distances = group_distances(
                standard,
                std[None],
                mean_weight=self.mean_weight,
                std_weight=self.std_weight,
                skew_weight=self.skew_weight if self.skew == "samples" else 0.0,
            )[0]
        if self.skew == "features":
            distances = distances + self.skew_weight * np.linalg.norm(_feature_skew(standard, mean, std), axis=1)
        return np.asarray(distances, np.float64)


def exact_group(rng: np.random.Generator, samples: int, mean: Vector, std: Vector) -> Array:
    """A group whose mean and (unbiased) spread in each dimension are `mean` and `std`, shape (samples, dimensions).

    A draw that is shifted and scaled. A single sample stays as it was drawn: its mean could only be the class's by
    being the class's mean, which has none of the noise that a denoiser expects.
    """
    standard = rng.standard_normal((samples, len(mean)), dtype=np.float32).astype(np.float64)
    if samples > 1:
        standard -= standard.mean(axis=0)
        standard /= standard.std(axis=0, ddof=1)
    return _placed(standard, mean, std)


def exact_group_nbytes(samples: int, dimensions: int) -> int:
    """What `exact_group` holds at most, in bytes: three float64 arrays of its shape, and some vectors."""
    return 8 * dimensions * (3 * samples + 4)


def _placed(standard: NDArray[np.floating], mean: Vector, std: Vector) -> Array:
    return (mean + std * standard).astype(np.float32)


def _feature_skew(standard: Array, mean: Vector, std: Vector) -> Vector:
    """Skew of each sample over its own elements, shape (groups, samples)."""
    placed = mean + std * standard
    placed -= placed.mean(axis=2, keepdims=True)
    skew: Vector = (placed**3).mean(axis=2) / (placed**2).mean(axis=2) ** 1.5
    return skew
