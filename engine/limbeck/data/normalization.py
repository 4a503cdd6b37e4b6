"""Pixels that were stored normalized, brought back to [0, 1].

Optimized sets are often stored as the network saw them: (pixel - mean) / std. Whitened pixels (ZCA) cannot be brought
back without the matrix that whitened them, which is in none of these files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limbeck.arrays import Array, Images
from limbeck.data.base import Fit
from limbeck.data.decode import square_tiles
from limbeck.data.stored import StoredSource
from limbeck.errors import ConfigError, UnreadableImagesError


@dataclass(frozen=True)
class Normalization:
    """What was done to pixels in [0, 1] before they were stored: (pixel - mean) / std, by channel.

    Args:
        mean: Of red, green and blue.
        std: The same.
        clip: Whether what comes out is cut to [0, 1]: optimized pixels leave the range of an image.

    Raises:
        ConfigError: They are not finite, or a std is not above 0.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    clip: bool = True

    def __post_init__(self) -> None:
        """Reject what no pixel was divided by."""
        if not all(math.isfinite(number) for number in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise ConfigError(f"a normalization needs finite means and a std above 0, got {self.mean} and {self.std}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """A name out of `NORMALIZATIONS`, or six numbers: "0.5,0.5,0.5/0.2,0.2,0.2".

        Raises:
            ConfigError: It is neither.
        """
        if text in NORMALIZATIONS:
            named = NORMALIZATIONS[text]
            return cls(named.mean, named.std, named.clip)
        try:
            (r, g, b), (s, t, u) = ([float(number) for number in part.split(",")] for part in text.split("/"))
        except ValueError as error:
            raise ConfigError(
                f"'{text}' is no normalization; there is {', '.join(NORMALIZATIONS)}, or give mean and std as "
                "R,G,B/R,G,B"
            ) from error
        return cls((r, g, b), (s, t, u))

    def undone(self, pixels: Array) -> NDArray[np.float32]:
        """Pixels before it, shape (height, width, 3)."""
        before = pixels.astype(np.float32) * np.array(self.std, np.float32) + np.array(self.mean, np.float32)
        restored: NDArray[np.float32] = np.clip(before, 0, 1) if self.clip else before
        return restored


NORMALIZATIONS: Mapping[str, Normalization] = {
    "imagenet": Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "raw": Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), clip=False),
}
"""`imagenet` is torchvision's. `raw` takes what is stored for pixels in [-1, 1] and cuts nothing: that is how code of
DIVER's authors feeds normalized pixels to the codec. It is also right for sets that are stored in [-1, 1]."""


class Restored(StoredSource):
    """A source of arrays whose pixels may be stored normalized."""

    normalization: Normalization | None = None

    def tiles(
        self, name: str, picture: Path | bytes | Array, *, size: int, fit: Fit, per_side: int
    ) -> Sequence[Images]:
        if self.normalization is None or not isinstance(picture, np.ndarray):
            return super().tiles(name, _pixels_of(name, picture), size=size, fit=fit, per_side=per_side)
        colors = picture if picture.ndim == 3 else picture[..., None]
        if colors.dtype.kind != "f" or colors.shape[-1] not in (1, 3) or not np.isfinite(colors).all():
            reason = f"{colors.dtype} of shape {picture.shape}; normalized pixels are finite floats, gray or RGB"
            raise UnreadableImagesError([(name, reason)])
        restored = self.normalization.undone(np.broadcast_to(colors, (*colors.shape[:2], 3)))
        try:
            channels = [square_tiles(Image.fromarray(restored[..., i]), size, fit, per_side) for i in range(3)]
        except ValueError as error:
            raise UnreadableImagesError([(name, str(error))]) from error
        # made square as `decode` does, but not rounded to 8 bits
        made = [np.stack([np.asarray(one, np.float32) for one in tile]) for tile in zip(*channels, strict=True)]
        return [np.clip(tile, 0, 1) for tile in made] if self.normalization.clip else made

    def describe(self) -> dict[str, object]:
        """As every source, with the normalization that was undone."""
        if self.normalization is None:
            return super().describe()
        undone = self.normalization
        stated = {"mean": list(undone.mean), "std": list(undone.std), "clip": undone.clip}
        return {**super().describe(), "normalization": stated}


def _pixels_of(name: str, picture: Path | bytes | Array) -> Path | bytes | Array:
    """The picture, where its values are those of pixels."""
    if isinstance(picture, np.ndarray) and picture.dtype != np.uint8:
        low, high = float(picture.min()), float(picture.max())
        if not (low >= 0 and high <= 1):
            reason = (
                f"values from {low:g} to {high:g}; floats must lie in [0, 1]. If they are normalized, say how "
                f"({', '.join(NORMALIZATIONS)}, or mean and std); whitened (ZCA) pixels cannot be brought back"
            )
            raise UnreadableImagesError([(name, reason)])
    return picture
