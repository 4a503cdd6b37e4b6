"""Turns stored pictures into pixels: the one place where an image is decoded, turned upright and made square.

Every source gives `decode` the bytes, path or array of one picture. What comes back has 8 bits a channel, RGB in
[0, 1]:

- the orientation in EXIF is applied, embedded color profiles are not;
- gray, palette and CMYK become RGB as Pillow converts them;
- transparency lies on white;
- 16-bit gray is scaled by its range (Pillow's own conversion would clip it);
- of an animation, the first frame.
"""

from __future__ import annotations

import io
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from limbeck.arrays import Array
from limbeck.data.base import Fit
from limbeck.errors import UnreadableImagesError

MAX_PIXELS = 64_000_000
"""The default limit on width times height, before any pixel is decoded."""

# Not every format Pillow knows: EPS runs Ghostscript, and some parsers are there for old files only.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

_WHITE = (255, 255, 255, 255)


def decode(
    picture: Path | bytes | Array, *, name: str, size: int, fit: Fit, max_pixels: int = MAX_PIXELS
) -> NDArray[np.float32]:
    """The pixels of one picture, shape (3, size, size), RGB in [0, 1].

    Args:
        picture: A file, an encoded image, or an array of shape (height, width) or (height, width, 1, 3 or 4), uint8
            or float in [0, 1].
        name: What an error calls the picture.
        size: Height and width to come out, by Lanczos with antialiasing.
        fit: How it becomes square.
        max_pixels: A larger picture is refused before it is decoded. Pillow refuses more than 178 million anyway.

    Raises:
        UnreadableImagesError: It is missing, truncated, damaged, too large, or of an unknown format.

    A JPEG is decoded at the smallest of the scales 1/8, 1/4, 1/2, 1 that is at least twice `size`. Every other
    format is decoded whole, which takes up to 8 bytes a pixel.
    """
    (whole,) = decode_tiles(picture, name=name, size=size, fit=fit, tiles=1, max_pixels=max_pixels)
    return whole


def decode_tiles(
    picture: Path | bytes | Array, *, name: str, size: int, fit: Fit, tiles: int, max_pixels: int = MAX_PIXELS
) -> list[NDArray[np.float32]]:
    """As `decode`, of each of `tiles` by `tiles` parts of the square picture, row by row; 1 is the whole.

    Raises:
        UnreadableImagesError: As `decode`, or a side has fewer pixels than tiles.
    """
    try:
        # A warning tells of an odd file (broken metadata, many pixels); `max_pixels` and the decoder decide.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(picture, np.ndarray):
                return _tiles(Image.fromarray(_as_bytes(picture)), size, fit, tiles)
            if picture == b"":
                raise ValueError("it has no bytes")
            stream = io.BytesIO(picture) if isinstance(picture, bytes) else picture.open("rb")
            with stream, Image.open(stream, formats=_FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise ValueError(f"{width} x {height} pixels are more than the limit of {max_pixels}")
                image.draft(None, (2 * size * tiles, 2 * size * tiles))
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return _tiles(image, size, fit, tiles)
    except MemoryError:  # this machine's limit, not the picture's fault
        raise
    except Exception as error:  # Pillow's parsers raise whatever a damaged file makes them raise
        raise UnreadableImagesError([(name, _reason(error))]) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not an image of a known format ({', '.join(_FORMATS)})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def square_tiles(image: Image.Image, size: int, fit: Fit, tiles: int) -> list[Image.Image]:
    """The picture made square, in `tiles` by `tiles` parts, row by row, each of `size`; 1 is the whole.

    Raises:
        ValueError: A side has fewer pixels than tiles.
    """
    width, height = image.size
    box: tuple[float, float, float, float] = (0, 0, width, height)
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    if tiles == 1:
        return [image.resize((size, size), Image.Resampling.LANCZOS, box=box)]
    if min(width, height) < tiles:
        raise ValueError(f"{width} x {height} pixels cannot be cut into {tiles} x {tiles} tiles")
    # cut before the resize, whose filter looks beyond its box
    across, down = (
        [round(low + (high - low) * edge / tiles) for edge in range(tiles + 1)]
        for low, high in ((box[0], box[2]), (box[1], box[3]))
    )
    return [
        image.crop((left, top, right, bottom)).resize((size, size), Image.Resampling.LANCZOS)
        for top, bottom in pairwise(down)
        for left, right in pairwise(across)
    ]


def _tiles(image: Image.Image, size: int, fit: Fit, tiles: int) -> list[NDArray[np.float32]]:
    return [_pixels(tile) for tile in square_tiles(_colors(image), size, fit, tiles)]


def _pixels(colors: Image.Image) -> NDArray[np.float32]:
    if colors.mode == "RGBA":
        # After the resize, which weights by alpha: the same result as before it, on fewer pixels.
        colors = Image.alpha_composite(Image.new("RGBA", colors.size, _WHITE), colors)
    pixels = np.asarray(colors.convert("RGB"), np.float32) / np.float32(255)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _colors(image: Image.Image) -> Image.Image:
    """The image as L, RGB or RGBA: modes that can be resized."""
    if image.mode.startswith("I"):
        return Image.fromarray(_as_bytes(_sixteen_bits(np.asarray(image)) / np.float32(65535)))
    if image.mode == "F":
        return Image.fromarray(_as_bytes(np.asarray(image)))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _sixteen_bits(values: Array) -> Array:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ValueError(f"integers from {low} to {high}; gray images of at most 16 bits can be read")
    return values


def _as_bytes(values: Array) -> NDArray[np.uint8]:
    """An array as 8-bit pixels, (height, width) or (height, width, 3 or 4); a single channel is dropped."""
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # written so that NaN is refused too
        raise ValueError(f"values from {low:g} to {high:g}; floats must lie in [0, 1]")
    return np.rint(values * np.float32(255)).astype(np.uint8)
