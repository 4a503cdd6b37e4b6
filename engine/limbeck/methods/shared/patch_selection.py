"""What the methods share that choose patches of real images and compose images of them: RDED, DDPS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from limbeck.data.base import Fit, ImageSource
from limbeck.errors import ConfigError
from limbeck.methods.base import DistilledImages, Event, Unit
from limbeck.methods.shared.by_class import one_unit_a_class, refuse_small_classes
from limbeck.methods.shared.mosaic import Order, mosaic, patch_size, usual_parts
from limbeck.methods.shared.settings import refuse_below_one
from limbeck.methods.shared.windows import Window, cut_windows, patch_rows
from limbeck.models import Models


@dataclass(frozen=True, kw_only=True)
class PatchSelection:
    """A method whose images are mosaics of windows of real images.

    Args:
        ipc: Images per class.
        seed: With class name and image, fixes what is left to chance.
        parts: Patches along the side of an image; None is 2, and 1 for images up to 64 pixels.
        fit: How real images become square.
    """

    name: ClassVar[str]
    ipc: int
    seed: int = 0
    parts: int | None = None
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        refuse_below_one(self, "ipc")
        if self.parts is not None and self.parts < 1:
            raise ConfigError(f"parts must be at least 1, or None for the usual, got {self.parts}")

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse small classes, and patches that fill no image."""
        refuse_small_classes(source, ipc=self.ipc)
        patch_size(models.image_size, self.parts_of(models))

    def units(self, source: ImageSource) -> Sequence[Unit]:
        """One unit a class."""
        return one_unit_a_class(source)

    def parts_of(self, models: Models) -> int:
        """Patches along the side of an image of the pack's size."""
        return self.parts or usual_parts(models.image_size)

    def num_patches(self, models: Models) -> int:
        """How many a class needs."""
        return self.ipc * self.parts_of(models) ** 2

    def composed(
        self,
        unit: Unit,
        chosen: Sequence[Window],
        source: ImageSource,
        models: Models,
        *,
        columns: Mapping[str, Sequence[object]],
        constants: Mapping[str, object] = MappingProxyType({}),
        order: Order = "consecutive",
        enlarged: int = 1,
    ) -> Iterator[Event]:
        """The images of a class, of `num_patches` windows, and the progress of cutting these.

        Args:
            unit: The class's.
            chosen: The windows, the best first.
            source: Its images.
            models: Have the sizes.
            columns, constants: As `patch_rows`.
            order: Which windows share an image.
            enlarged: Images are read at so many times the pack's size.
        """
        (class_id,) = unit.class_ids
        parts = self.parts_of(models)
        patches = yield from cut_windows(
            chosen,
            class_id,
            source,
            fit=self.fit,
            read_size=enlarged * models.image_size,
            size=patch_size(models.image_size, parts),
            batch=max(1, models.images_at_a_time // enlarged**2),
        )
        rows = patch_rows(
            chosen,
            source.names(class_id),
            seed=self.seed,
            images=self.ipc,
            parts=parts,
            order=order,
            columns=columns,
            constants=constants,
        )
        yield DistilledImages(unit, mosaic(patches, parts, order=order), unit.class_ids * self.ipc, rows)
