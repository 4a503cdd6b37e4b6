"""Running a convolutional codec on tiles of one shape, blended where they overlap.

    |<----- tile ----->|
             |<----- tile ----->|          every tile has the same shape; the last is shifted back to end at the border
             |overlap |
    weights  1 1 1 \\  /  1 1 1            each tile fades out over the overlap while its neighbor fades in

What a network sees of a tile ends at the tile's edge, so its outermost part is computed as at an image's border. Where
the overlap is at least twice the receptive radius, the blend takes nothing from there if the fading leaves it out; then
tiles equal the whole. A KL codec has a global attention and normalizes over the image, so no overlap makes it equal;
`docs/explanation/memory.md` has how far it is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from limbeck.arrays import Array
from limbeck.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How an image is cut.

    Args:
        tile: Height and width of a tile, in cells of the coarse side (latents).
        overlap: Cells that neighbors share, at least; half of the tile is the most.
        margin: Cells at a tile's inner edge that are not used at all: the receptive radius of the network makes tiles
            equal to the whole.

    Raises:
        ConfigError: A tile without a middle, or an overlap that the margins take whole.
    """

    tile: int
    overlap: int
    margin: int = 0

    def __post_init__(self) -> None:
        """Reject what cannot be blended."""
        if not 0 < self.overlap <= self.tile // 2:
            raise ConfigError(f"tiles of {self.tile} overlap by 1 to {self.tile // 2}, got overlap={self.overlap}")
        if not 0 <= 2 * self.margin < self.overlap:
            raise ConfigError(
                f"margins of {self.margin} on both sides leave nothing of an overlap of {self.overlap} to blend in"
            )

    @classmethod
    def of(cls, tile: int) -> Self:
        """Tiles that overlap by a quarter, of which the outer quarter on each side is left out of the blend."""
        return cls(tile=tile, overlap=tile // 4, margin=tile // 16)

    def starts(self, length: int) -> tuple[int, ...]:
        """Where tiles begin along a side of `length` cells; they cover it, and none is longer than it."""
        if length <= self.tile:
            return (0,)
        step = self.tile - self.overlap
        return (*range(0, length - self.tile, step), length - self.tile)

    def count(self, height: int, width: int) -> int:
        """How many tiles an image of this many cells has."""
        return len(self.starts(height)) * len(self.starts(width))


def tiled(
    run: Callable[[Array], Array], images: Array, tiling: Tiling, *, scale_in: int = 1, scale_out: int = 1
) -> Array:
    """`run` on tiles of `images`, blended.

    Args:
        run: Takes (batch, channels, tile * scale_in, tile * scale_in) and gives another number of channels at
            tile * scale_out. All its calls have one shape.
        images: Shape (batch, channels, height, width), both sides multiples of `scale_in` and at least a tile.
        tiling: In cells; a cell is `scale_in` of the input and `scale_out` of the output.
        scale_in: 1 for latents, the codec's factor for pixels.
        scale_out: The same of the output.

    Returns:
        Shape (batch, other channels, height / scale_in * scale_out, width / scale_in * scale_out), float32.
    """
    height, width = (side // scale_in for side in images.shape[2:])
    total: Array | None = None
    weights = np.zeros((height * scale_out, width * scale_out), np.float32)
    for top, left in _places(tiling, height, width):
        part = images[:, :, _cells(top, tiling, scale_in), _cells(left, tiling, scale_in)]
        made = run(np.ascontiguousarray(part))
        rows = _fade(tiling, top, height, scale_out)
        columns = _fade(tiling, left, width, scale_out)
        weight = rows[:, None] * columns[None, :]
        if total is None:
            total = np.zeros((*made.shape[:2], *weights.shape), np.float32)
        place = _cells(top, tiling, scale_out), _cells(left, tiling, scale_out)
        total[:, :, *place] += made * weight
        weights[place] += weight
    assert total is not None, "there is at least one tile"
    total /= weights
    return total


def _places(tiling: Tiling, height: int, width: int) -> Iterator[tuple[int, int]]:
    for top in tiling.starts(height):
        for left in tiling.starts(width):
            yield top, left


def _cells(start: int, tiling: Tiling, scale: int) -> slice:
    return slice(start * scale, (start + tiling.tile) * scale)


def _fade(tiling: Tiling, start: int, length: int, scale: int) -> Array:
    """Weights along one side of a tile that begins at `start`: a ramp at each end that is not the image's border."""
    size, margin = tiling.tile * scale, tiling.margin * scale
    ramp_length = tiling.overlap * scale - 2 * margin
    ramp = np.concatenate([np.zeros(margin), (np.arange(ramp_length) + 0.5) / ramp_length]).astype(np.float32)
    weights = np.ones(size, np.float32)
    if start > 0:
        weights[: len(ramp)] = ramp
    if start + tiling.tile < length:
        weights[size - len(ramp) :] = np.minimum(weights[size - len(ramp) :], ramp[::-1])
    return weights
