"""What SFM and LGM share: images as pyramids of free numbers, seen through a frozen backbone, moved by Adam.

    pixels  --`pixel_set`-->  views  --backbone-->  features  --the method-->  loss

and the loss's gradient the same way back, without torch. The set is carried in chunks that fill the backbone's bucket:
features of all chunks first, then their gradient chunk by chunk, so memory grows with the set by its parameters alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import ClassIds, Features, Images
from limbeck.data.base import ImageSource
from limbeck.errors import ConfigError, DataError, EngineError
from limbeck.linear_head import fit_head
from limbeck.memory.work import Work
from limbeck.methods.base import NO_STATES, Checkpoint, DistilledImages, Event, Progress, State, Unit
from limbeck.methods.shared.by_class import class_counts
from limbeck.methods.shared.pixel_set import Pixels, PixelSettings
from limbeck.models import Models, Part
from limbeck_kernels.augment import central_crop, crops

_REAL = "real "
"""Marks, in a state, what was computed of the real images before the first step."""


class Differentiable(Protocol):
    """A backbone with its gradient; see `limbeck.backbone.GradientBackbone`."""

    @property
    def image_size(self) -> int: ...

    @property
    def num_features(self) -> int: ...

    def features(self, images: Images) -> Features: ...

    def vjp(self, images: Images, cotangent: Features) -> tuple[Features, Images]: ...

    def flow_gradient(
        self, images: Images, flow: Features, membership: Features, *, divisor: float
    ) -> tuple[float, Images]: ...


def backbone_of(models: Models) -> Differentiable:
    """The backbone of a pack that was opened for its gradient."""
    return cast(Differentiable, models.backbone)


@dataclass(frozen=True, kw_only=True)
class PixelMatching(PixelSettings, ABC):
    """A method that optimizes pixels so that their features match those of real images; settings: `PixelSettings`."""

    name: ClassVar[str]
    needs: ClassVar[AbstractSet[Part]] = frozenset({"gradient"})

    @abstractmethod
    def prepare(self, source: ImageSource, models: Models) -> Generator[Progress, None, State]:
        """What the steps need of the real images, small enough to lie in every checkpoint."""

    @abstractmethod
    def loss(
        self, features: Features, labels: ClassIds, step: Step
    ) -> Generator[Progress, None, tuple[float, Features]]:
        """The loss of the views' features, and its gradient with respect to them; an event after each engine call.

        Args:
            features: Shape (views, dimensions).
            labels: Shape (views,).
            step: What else there is.
        """

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse a single class, and real images beyond `scratch_bytes`."""
        if len(source.class_names) < 2:
            raise DataError(f"'{self.name}' tells classes apart; the source has only '{source.class_names[0]}'")
        needed = self.scratch_nbytes(source, models)
        if needed > self.scratch_bytes:
            raise ConfigError(
                f"'{self.name}' would hold {needed:,} bytes of the real images; scratch_bytes allows "
                f"{self.scratch_bytes:,}\nraise it, or leave images out{self.scratch_remedy()}"
            )

    def scratch_nbytes(self, source: ImageSource, models: Models) -> int:
        """What is held of the real images."""
        if not self.golden_head:
            return 0
        # the features, joined, and a copy that is fitted
        return 3 * 4 * backbone_of(models).num_features * sum(class_counts(source))

    def scratch_remedy(self) -> str:
        """What else would make it less."""
        return ", or set golden_head=false" if self.golden_head else ""

    def warm_up(self) -> None:
        """scikit-learn, with SciPy and the buffers of its OpenBLAS."""
        if self.golden_head:
            fit_head(np.eye(2, dtype=np.float32), np.arange(2))

    def units(self, source: ImageSource) -> Sequence[Unit]:
        """One unit: the loss couples all classes."""
        return (Unit(0, tuple(range(len(source.class_names)))),)

    def work(self, source: ImageSource, models: Models) -> Work:
        """Read the real images once; what is held of a set in the making is its levels with both moments of Adam."""
        counts = class_counts(source)
        set_nbytes = 4 * 3 * self.side(models) ** 2 * self.ipc * len(counts)
        held = self.scratch_nbytes(source, models) + 5 * set_nbytes
        return Work(
            class_images=counts,
            images_per_class=self.ipc,
            scratch_nbytes=held,
            gradient_rows=self.num_steps * self.augs_per_batch * self.ipc * len(counts),
            interleaved=True,
        )

    def side(self, models: Models) -> int:
        """Height and width of the images."""
        return self.image_side or round(backbone_of(models).image_size / self.central_part)

    def distill(
        self,
        units: Sequence[Unit],
        source: ImageSource,
        models: Models,
        *,
        resume: Mapping[int, State] = NO_STATES,
    ) -> Iterator[Event]:
        """Optimize the whole set, with a checkpoint every `checkpoint_every` steps."""
        for unit in units:
            names = [source.class_names[class_id] for class_id in unit.class_ids]
            state = resume.get(unit.index)
            if state is None:
                real = yield from self.prepare(source, models)
                pixels = Pixels.begin(self, names, self.side(models))
            else:
                real = {key.removeprefix(_REAL): value for key, value in state.items() if key.startswith(_REAL)}
                pixels = Pixels.restored(self, names, self.side(models), state)
            yield from self._optimize(unit, pixels, real, source, models)
            yield DistilledImages(
                unit,
                pixels.images(slice(None)),
                tuple(int(label) for label in pixels.labels),
                tuple({"seed": self.seed, "index": index} for _ in names for index in range(self.ipc)),
                {**{key: value for key, value in real.items() if key in GOLDEN_HEAD}, "loss": np.array(pixels.losses)},
            )

    def _optimize(
        self, unit: Unit, pixels: Pixels, real: State, source: ImageSource, models: Models
    ) -> Generator[Event, None, None]:
        context = self.context(source, models)
        while (number := len(pixels.losses)) < self.num_steps:
            pixels.extend_if_due(number)
            loss, gradient = yield from self.gradient(pixels, Step(number, real, context, models))
            if not np.isfinite(loss):
                raise EngineError(f"the loss is {loss} at step {number}; check the pack with `limbeck doctor`")
            pixels.move(gradient, loss)
            yield Progress("distill", number + 1, self.num_steps)
            if (number + 1) % self.checkpoint_every == 0:
                yield Checkpoint(unit, {**{_REAL + key: value for key, value in real.items()}, **pixels.state()})

    def context(self, source: ImageSource, models: Models) -> Any:
        """What the steps need beside `prepare`, too large for a checkpoint: made again after a resume."""
        return None

    def gradient(self, pixels: Pixels, step: Step) -> Generator[Progress, None, tuple[float, list[Images]]]:
        """The loss, and its gradient with respect to every level: features first, then their gradient in chunks."""
        backbone, augs = backbone_of(step.models), self.augs_per_batch
        count = max(1, step.models.bucket // augs)
        chunks = [slice(start, start + count) for start in range(0, len(pixels.labels), count)]
        features = []
        for chunk in chunks:
            views, _ = pixels.views(pixels.images(chunk), chunk, step.number, backbone.image_size)
            features.append(backbone.features(views))
            yield Progress("distill", step.number, self.num_steps)
        loss, slope = yield from self.loss(np.concatenate(features), np.repeat(pixels.labels, augs), step)
        pulled = []
        for chunk in chunks:
            images = pixels.images(chunk)
            views, parts = pixels.views(images, chunk, step.number, backbone.image_size)
            rows = slice(chunk.start * augs, chunk.start * augs + len(views))
            _, gradient = backbone.vjp(views, slope[rows])
            pulled.append(pixels.pulled(gradient, parts, images))
            yield Progress("distill", step.number, self.num_steps)
        return loss, pixels.back(pulled)

    def real_features(self, class_id: int, source: ImageSource, models: Models) -> Iterator[Features]:
        """The features of a class's images, a bucket at a time, of the middle of each."""
        backbone = backbone_of(models)
        for images in source.images(class_id, size=self.side(models), fit=self.fit, batch=models.bucket):
            middle = crops(images, [central_crop(self.central_part)] * len(images), backbone.image_size)
            yield backbone.features(middle)


GOLDEN_HEAD = ("golden_head_weight", "golden_head_bias")
"""Names of the classifier of the real images, beside a distilled set."""


@dataclass(frozen=True)
class Step:
    """What a loss is given.

    Args:
        number: Of the step, from 0.
        real: What `prepare` found.
        context: What `context` made.
        models: The backbone.
    """

    number: int
    real: State
    context: Any
    models: Models


def golden_head(kept: Sequence[tuple[Features, int]]) -> dict[str, NDArray[Any]]:
    """The classifier of features with their class ids, by the names it has beside a set; nothing of nothing."""
    if not kept:
        return {}
    labels = np.concatenate([np.full(len(features), class_id) for features, class_id in kept])
    head = fit_head(np.concatenate([features for features, _ in kept]), labels)
    return dict(zip(GOLDEN_HEAD, (head.weight, head.bias), strict=True))
