"""What methods have in common that make one class at a time."""

from __future__ import annotations

from limbeck.data.base import ImageSource
from limbeck.errors import DataError
from limbeck.methods.base import Unit


def class_counts(source: ImageSource) -> tuple[int, ...]:
    """How many images each class has."""
    return tuple(len(source.names(class_id)) for class_id in range(len(source.class_names)))


def one_unit_a_class(source: ImageSource) -> tuple[Unit, ...]:
    """The units of a method whose classes know nothing of each other."""
    return tuple(Unit(class_id, (class_id,)) for class_id in range(len(source.class_names)))


def refuse_small_classes(source: ImageSource, *, ipc: int) -> None:
    """Refuse classes with fewer images than are to be made.

    Raises:
        DataError: It names the first.
    """
    for name, count in zip(source.class_names, class_counts(source), strict=True):
        if count < ipc:
            raise DataError(
                f"class '{name}' has {count} images, fewer than ipc={ipc}; "
                "lower ipc or leave the class out of the source"
            )
