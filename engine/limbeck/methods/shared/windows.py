"""Square windows of images: where in a map they score best, and what lies in them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from PIL import Image as Picture

from limbeck.arrays import Array, Images
from limbeck.data.base import Fit, ImageSource
from limbeck.methods.base import Progress
from limbeck.methods.shared.mosaic import Order, patches_of_image

NBYTES = 512
"""More than a window takes, with its share of the lists it is in."""


@dataclass(frozen=True, slots=True)
class Window:
    """A square of one image of a class, in fractions of the image's side.

    Args:
        image: Which of its class.
        top: Its upper edge, 0..1.
        left: Its left edge, 0..1.
        side: Its height and width, 0..1.
        score: How good it is.
    """

    image: int
    top: float
    left: float
    side: float
    score: float

    @property
    def box(self) -> list[float]:
        """Top, left and side, as a manifest has them."""
        return [round(self.top, 5), round(self.left, 5), round(self.side, 5)]


def best_windows(scores: Array, *, image: int, size: int, side: float, count: int) -> list[Window]:
    """The windows with the highest mean score that do not overlap, the best first.

    A window is taken, what overlaps it is left out, and so on (greedy).

    Args:
        scores: Shape (height, width), equal; enlarged bilinearly to `size`.
        image: Which image of its class the map is of.
        size: Windows begin at whole pixels of an image of this height and width.
        side: Height and width of a window as a fraction of the image's.
        count: At most so many.
    """
    pixels = round(side * size)
    means = _window_means(_resized(scores, size).astype(np.float64), pixels)
    found: list[Window] = []
    while len(found) < count and np.isfinite(means.max()):
        top, left = (int(place) for place in np.unravel_index(np.argmax(means), means.shape))
        found.append(Window(image, top / size, left / size, pixels / size, float(means[top, left])))
        above, before = max(top - pixels + 1, 0), max(left - pixels + 1, 0)
        means[above : top + pixels, before : left + pixels] = -np.inf
    return found


def patch_rows(
    windows: Sequence[Window],
    names: Sequence[str],
    *,
    seed: int,
    images: int,
    parts: int,
    order: Order,
    columns: Mapping[str, Sequence[object]],
    constants: Mapping[str, object] = MappingProxyType({}),
) -> tuple[Mapping[str, object], ...]:
    """What a manifest says of images that are mosaics of windows: of which images they are, and where in them.

    Args:
        windows: What the images are composed of.
        names: Of the images of the class.
        seed: Of the method.
        images: How many are composed.
        parts, order: As `mosaic`.
        columns: What else is said, of every window.
        constants: What is said of every image.
    """
    rows = []
    for index in range(images):
        places = patches_of_image(index, images=images, parts=parts, order=order)
        rows.append(
            {
                "seed": seed,
                "index": index,
                "source_images": [names[windows[place].image] for place in places],
                "windows": [windows[place].box for place in places],
                **{name: [column[place] for place in places] for name, column in columns.items()},
                **constants,
            }
        )
    return tuple(rows)


def cut(image: Array, window: Window, size: int) -> Array:
    """What lies in a window of an image, shape (3, side, side), at another size: (3, size, size), bilinear.

    Edges are rounded to whole pixels, and nothing from beyond them comes in.
    """
    side = image.shape[-1]
    length = max(1, round(window.side * side))
    top, left = (min(round(place * side), side - length) for place in (window.top, window.left))
    return np.stack([_resized(channel, size) for channel in image[:, top : top + length, left : left + length]])


def cut_windows(
    windows: Sequence[Window], class_id: int, source: ImageSource, *, fit: Fit, read_size: int, size: int, batch: int
) -> Generator[Progress, None, Images]:
    """What lies in windows of a class, in their order: shape (windows, 3, size, size).

    Args:
        windows: Where.
        class_id: The class.
        source: Its images, of which one batch is held.
        fit: How images become square.
        read_size: At which size they are read.
        size: Of what is cut out of them.
        batch: Images at a time.
    """
    made = np.empty((len(windows), 3, size, size), np.float32)
    count = len(source.names(class_id))
    start = 0
    for images in source.images(class_id, size=read_size, fit=fit, batch=batch):
        for place, window in enumerate(windows):
            if start <= window.image < start + len(images):
                made[place] = cut(images[window.image - start], window, size)
        start += len(images)
        yield Progress("cut", start, count)
    return made


def _resized(values: Array, size: int) -> Array:
    """A square of numbers at another size, bilinear, with antialiasing where it is reduced."""
    picture = Picture.fromarray(np.ascontiguousarray(values, np.float32), "F")
    return np.asarray(picture.resize((size, size), Picture.Resampling.BILINEAR))


def _window_means(values: Array, side: int) -> Array:
    """The mean of every window of `side` by `side`, at stride 1."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    sums[1:, 1:] = values.cumsum(axis=0).cumsum(axis=1)
    means: Array = (sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]) / side**2
    return means
