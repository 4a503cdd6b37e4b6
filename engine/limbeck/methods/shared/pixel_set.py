"""A set in the making: images as pyramids of free numbers, the views a backbone has of them, and Adam that moves them.

    levels  --render-->  free pixels  --color-->  images  --crop, noise-->  views

and a gradient the same way back, each step exactly transposed (`limbeck_kernels`). As in LGM's release (Cazenavette et
al. 2025), which SFM's uses too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import ClassIds, Images
from limbeck.data.base import Fit
from limbeck.errors import ConfigError
from limbeck.methods.base import State
from limbeck.methods.shared.settings import refuse_below_one
from limbeck.randomness import generator
from limbeck_kernels.adam import Adam
from limbeck_kernels.augment import Crop, crops, crops_adjoint, random_crop
from limbeck_kernels.color import to_color, to_color_adjoint
from limbeck_kernels.pyramid import render, render_adjoint

Views = tuple[Images, list[Crop]]
"""Shape (views, 3, size, size), and where each was cut out."""


@dataclass(frozen=True, kw_only=True)
class PixelSettings:
    """How images become pixels, and how these are moved.

    Args:
        ipc: Images per class.
        seed: With class name and index, fixes where an image begins and how it is augmented at each step.
        num_steps: Steps of Adam.
        learning_rate: Of Adam, whose betas are 0.9 and 0.999 and whose epsilon is 1e-8.
        image_side: Height and width of the images; None is the backbone's over `central_part`: 256 for 224.
        first_side: Side of the coarsest level; `image_side` optimizes plain pixels.
        extend_every: Steps between new levels, each of twice the side, until `image_side`.
        correlate_colors: Move the channels together as natural images do.
        augs_per_batch: Views of each image in a step.
        crop_scale: Least and largest part of an image that a view shows.
        crop_ratio: Least and largest width over height of it.
        flip_probability: Of left and right changing places in a view.
        noise_probability: Of noise on a view.
        noise_mean: Of that noise.
        noise_std: Of that noise.
        fit: How real images become square.
        central_part: What the statistics see of a real image: the middle of its height and width.
        golden_head: Fit a linear classifier (logistic regression) to the features of all real images, each seen once
            by its middle, and store it with the set, for classifier inheritance.
        checkpoint_every: Steps between checkpoints.
        scratch_bytes: The most that may be held of the real images.
    """

    ipc: int
    seed: int = 0
    num_steps: int = 5000
    learning_rate: float = 2e-3
    image_side: int | None = None
    first_side: int = 1
    extend_every: int = 200
    correlate_colors: bool = True
    augs_per_batch: int = 1
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip_probability: float = 0.5
    noise_probability: float = 0.5
    noise_mean: float = 0.0
    noise_std: float = 0.2
    fit: Fit = "crop"
    central_part: float = 0.875
    golden_head: bool = True
    checkpoint_every: int = 100
    scratch_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        refuse_below_one(self, "ipc", "num_steps", "first_side", "extend_every", "augs_per_batch", "checkpoint_every")
        if self.image_side is not None and self.image_side < 1:
            raise ConfigError(f"image_side must be at least 1, got {self.image_side}")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not (0 <= self.noise_probability <= 1 and self.noise_std >= 0):
            raise ConfigError(
                f"noise_probability={self.noise_probability} must lie in 0..1, noise_std={self.noise_std} not below 0"
            )
        if not 0 <= self.flip_probability <= 1:
            raise ConfigError(f"flip_probability must lie in 0..1, got {self.flip_probability}")
        if not 0 < self.central_part <= 1:
            raise ConfigError(f"central_part must be above 0 and at most 1, got {self.central_part}")
        if not (0 < self.crop_scale[0] <= self.crop_scale[1] <= 1 and 0 < self.crop_ratio[0] <= self.crop_ratio[1]):
            raise ConfigError(
                f"crop_scale={self.crop_scale} must rise inside 0..1, and crop_ratio={self.crop_ratio} rise above 0"
            )

    def view(self, images: Images, class_names: Sequence[str], indexes: Sequence[int], use: str, size: int) -> Views:
        """One random view of each image, (n, 3, size, size), and where it was cut out."""
        rngs = [generator(self.seed, name, index, use) for name, index in zip(class_names, indexes, strict=True)]
        parts = [
            random_crop(rng, scale=self.crop_scale, ratio=self.crop_ratio, mirrored=self.flip_probability)
            for rng in rngs
        ]
        views = crops(images, parts, size)
        for view, rng in zip(views, rngs, strict=True):
            if rng.random() < self.noise_probability:
                view += np.float32(self.noise_mean) + np.float32(self.noise_std) * rng.standard_normal(
                    view.shape, dtype=np.float32
                )
        return views, parts


@dataclass
class Pixels:
    """A set in the making: what Adam moves, and what was reached.

    Args:
        settings: Of the method.
        class_names: In label order; the set has `ipc` images of each, class by class.
        side: Of the images.
        levels: Each of shape (images, 3, r, r), the finest first.
        moments: Adam's, one a level.
        losses: One a step.
    """

    settings: PixelSettings
    class_names: Sequence[str]
    side: int
    levels: list[Images]
    moments: list[Adam]
    losses: list[float] = field(default_factory=list)

    @classmethod
    def begin(cls, settings: PixelSettings, class_names: Sequence[str], side: int) -> Pixels:
        """One level of standard normal numbers."""
        pixels = cls(settings, class_names, side, [], [])
        pixels._add_level(min(settings.first_side, side))
        return pixels

    @classmethod
    def restored(cls, settings: PixelSettings, class_names: Sequence[str], side: int, state: State) -> Pixels:
        """From `state`."""
        steps, losses = int(state["adam_steps"]), state["losses"].tolist()
        sides = state["sides"].tolist()
        levels = [state[f"level {r}"] for r in sides]
        moments = [Adam(state[f"first {r}"], state[f"second {r}"], steps) for r in sides]
        return cls(settings, class_names, side, levels, moments, losses)

    def state(self) -> dict[str, NDArray[Any]]:
        """All that the next step depends on."""
        found: dict[str, NDArray[Any]] = {
            "sides": np.array([level.shape[-1] for level in self.levels]),
            "adam_steps": np.array(self.moments[0].steps),
            "losses": np.array(self.losses),
        }
        for level, moments in zip(self.levels, self.moments, strict=True):
            r = level.shape[-1]
            found |= {f"level {r}": level, f"first {r}": moments.first, f"second {r}": moments.second}
        return found

    @property
    def labels(self) -> ClassIds:
        """One an image."""
        return np.repeat(np.arange(len(self.class_names)), self.settings.ipc)

    def extend_if_due(self, number: int) -> None:
        """Every `extend_every` steps a level of twice the side; Adam begins anew, as in the release."""
        due = number > 1 and (number - 1) % self.settings.extend_every == 0
        if due and (finest := self.levels[0].shape[-1]) < self.side:
            self._add_level(min(2 * finest, self.side))

    def _add_level(self, side: int) -> None:
        """The others are scaled down, so that the sum stays about as large."""
        count = len(self.levels) + 1
        names = [(name, index) for name in self.class_names for index in range(self.settings.ipc)]
        drawn = [
            generator(self.settings.seed, name, index, f"level {side}").standard_normal((3, side, side), np.float32)
            for name, index in names
        ]
        scaled = [level * np.float32((count - 1) / count) for level in self.levels]
        self.levels = [np.stack(drawn) / np.float32(count), *scaled]
        self.moments = [Adam.fresh(level) for level in self.levels]

    def images(self, chunk: slice) -> Images:
        """Some images, in [0, 1]."""
        free = render([level[chunk] for level in self.levels], self.side)
        return to_color(free, correlate=self.settings.correlate_colors)

    def views(self, images: Images, chunk: slice, number: int, size: int) -> Views:
        """`augs_per_batch` views of each, those of one image together."""
        augs, ipc = self.settings.augs_per_batch, self.settings.ipc
        places = range(*chunk.indices(len(self.labels)))
        names = [self.class_names[place // ipc] for place in places]
        made = [
            self.settings.view(images, names, [place % ipc for place in places], f"view {number} {aug}", size)
            for aug in range(augs)
        ]
        views = np.stack([views for views, _ in made], axis=1)
        return views.reshape(-1, *views.shape[2:]), [
            part for parts in zip(*(p for _, p in made), strict=True) for part in parts
        ]

    def pulled(self, gradient: Images, parts: list[Crop], images: Images) -> list[Images]:
        """The gradient of the views to that of every level of these images."""
        augs = self.settings.augs_per_batch
        whole = crops_adjoint(gradient, parts, self.side, self.side)
        colors = whole.reshape(-1, augs, *whole.shape[1:]).sum(axis=1)
        free = to_color_adjoint(colors, images, correlate=self.settings.correlate_colors)
        return render_adjoint(free, [level.shape[-1] for level in self.levels])

    def back(self, pulled: Sequence[list[Images]]) -> list[Images]:
        """The chunks' gradients joined, one array a level."""
        return [np.concatenate(parts) for parts in zip(*pulled, strict=True)]

    def move(self, gradient: Sequence[Images], loss: float) -> None:
        """One step of Adam on every level."""
        rate = self.settings.learning_rate
        moved = [
            moments.step(level, slope, rate=rate)
            for moments, level, slope in zip(self.moments, self.levels, gradient, strict=True)
        ]
        self.levels, self.moments = [level for level, _ in moved], [moments for _, moments in moved]
        self.losses.append(loss)
